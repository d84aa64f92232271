import io
import itertools
import math

import pandas as pd
import pytest

from segprune.report.retention_figure import detail_figure, retention_figure
from tests.report.test_figures import HOSTILE, WHERE, boxes

NAMES = ("l1", "taylor", "random", "fgp", "a method with a long name")


def retention(*methods: str) -> pd.DataFrame:
    records = [
        {
            "method": method,
            "pruner": method,
            "option": "macs",
            "ratio_asked": ratio,
            "seed": seed,
            "stage": stage,
        }
        | {
            "ratio_reached_percent": 100 * ratio,
            "macs_removed_percent": 120 * ratio,
            "kept_percent": 90 - 50 * ratio + seed,
        }
        for method, ratio, seed, stage in itertools.product(
            methods, (0.3, 0.5), (0, 2), ("pruned", "finetuned")
        )
    ]
    return pd.DataFrame(records)


@pytest.mark.parametrize(
    "draw", [retention_figure, lambda table, *rest: detail_figure(details(*NAMES), *rest)]
)
def test_no_label_covers_another_or_leaves_the_picture(draw) -> None:
    boxes(draw(retention(*NAMES), WHERE, "macs"))


def test_retention_shows_means_and_spread_at_what_was_reached() -> None:
    figure = retention_figure(retention("l1"), WHERE, "macs")
    pruned, finetuned = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["right after the cut, BN re-estimated", "finetuned"]
    line = finetuned.containers[0]
    assert line.lines[0].get_xdata().tolist() == [30.0, 50.0]
    assert line.lines[0].get_ydata().tolist() == [76.0, 66.0]  # seeds 0 and 2: 90 - 15 + 1, 90 - 25 + 1
    # their sd is sqrt(2)
    low, high = line.lines[1]
    assert low.get_ydata().tolist() == pytest.approx([76 - 2**0.5, 66 - 2**0.5])
    assert high.get_ydata().tolist() == pytest.approx([76 + 2**0.5, 66 + 2**0.5])
    assert pruned.get_xlabel() == "MACs removed, reached (%)"
    assert "streets test, 96x128 px" in pruned.get_ylabel()


def test_other_budgets_are_also_shown_by_the_macs_that_went_with_them() -> None:
    figure = retention_figure(retention("l1"), WHERE, "channels")
    *_, by_channels, by_macs = figure.axes
    assert by_channels.get_xlabel() == "channels removed, reached (%)"
    assert (by_macs.get_title(), by_macs.get_xlabel()) == ("finetuned, by MACs", "MACs removed, reached (%)")
    line, same = (ax.containers[0].lines[0] for ax in (by_macs, by_channels))
    assert line.get_xdata().tolist() == pytest.approx([36.0, 60.0])
    assert line.get_ydata().tolist() == same.get_ydata().tolist()


def details(*methods: str, small: float = 20.0) -> pd.DataFrame:
    dense = {"mIoU": 50.0, "boundary IoU": 40.0, "small-object recall": small}
    return pd.concat(
        retention(*methods).query("stage == 'finetuned'").assign(measure=measure, dense_percent=value)
        for measure, value in dense.items()
    )


def test_details_are_shown_beside_miou_with_what_the_dense_network_had() -> None:
    figure = detail_figure(details("l1"), WHERE, "macs")
    assert [ax.get_title() for ax in figure.axes] == [
        "mIoU; dense: 50.0 %",
        "boundary IoU; dense: 40.0 %",
        "small-object recall; dense: 20.0 %",
    ]
    for ax in figure.axes:
        assert ax.containers[0].lines[0].get_ydata().tolist() == [76.0, 66.0]


def test_what_the_dense_network_did_not_have_cannot_be_kept() -> None:
    for nothing in (math.nan, 0.0):
        figure = detail_figure(details("l1", small=nothing), WHERE, "macs")
        assert len(figure.axes) == 2


def test_methods_at_one_budget_do_not_look_far_apart_for_a_last_channel() -> None:
    table = (
        retention("l1").query("ratio_asked == 0.3").assign(ratio_reached_percent=[30.0, 30.0, 30.02, 30.02])
    )
    for ax in retention_figure(table, WHERE, "macs").axes:
        low, high = ax.get_xlim()
        assert high - low == pytest.approx(5)
        assert (low + high) / 2 == pytest.approx(30.01, abs=0.02)


def test_retention_of_nothing_says_so() -> None:
    figure = retention_figure(retention("l1").iloc[:0], WHERE, "macs")
    assert [text.get_text() for text in figure.axes[0].texts] == ["no cut network was evaluated"]


def test_hostile_names_are_drawn() -> None:
    figure = retention_figure(retention(HOSTILE, "_hidden"), WHERE, HOSTILE)
    figure.savefig(io.BytesIO(), dpi=30)
