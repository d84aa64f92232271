import io
import itertools
import math

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from segprune.report.figures import cost_figure, curve_figure, pareto, retention_figure
from segprune.report.style import Where

WHERE = Where(dataset="streets", split="test", size_hw=(96, 128))
HOSTILE = "$\\frac{_<b>\n"


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
        | {"removed_percent": 100 * ratio, "kept_percent": 90 - 50 * ratio + seed}
        for method, ratio, seed, stage in itertools.product(
            methods, (0.3, 0.5), (0, 2), ("pruned", "finetuned")
        )
    ]
    return pd.DataFrame(records)


def costs(latency: float = 10.0) -> pd.DataFrame:
    points = [
        ("dense", None, 50.0, 4.0),
        ("l1", 0.3, 45.0, 3.0),
        ("l1", 0.5, 40.0, 2.0),
        ("l2", 0.5, 44.0, 2.0),
    ]
    return pd.DataFrame(
        [
            {"method": method, "ratio_asked": ratio, "miou_percent": miou, "gmacs": gmacs, "mparams": gmacs}
            | {"latency_ms": latency}
            for method, ratio, miou, gmacs in points
        ]
    )


def curves() -> pd.DataFrame:
    lines = [("train", "dense", None, 0), ("finetune", "l1", 0.3, 0), ("finetune", "l1", 0.3, 1)]
    return pd.DataFrame(
        [
            {
                "stage": stage,
                "method": method,
                "option": None,
                "ratio_asked": ratio,
                "seed": seed,
                "epoch": epoch,
            }
            | {"loss": 3.0 - epoch + seed, "select_miou_percent": math.nan if seed else 10.0 * epoch}
            for stage, method, ratio, seed in lines
            for epoch in (1, 2)
        ]
    )


def boxes(figure: Figure) -> None:
    """Fail if two texts of the figure lie on each other or one is cut off."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for ax in figure.axes for text in ax.texts]
    for ax in figure.axes:  # ticks outside of the view are not drawn
        texts += [text for text in ax.get_xticklabels() if ax.viewLim.containsx(text.get_position()[0])]
        texts += [text for text in ax.get_yticklabels() if ax.viewLim.containsy(text.get_position()[1])]
        texts += [ax.xaxis.label, ax.yaxis.label, ax.title]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    shown = [
        text for text in texts if text.get_text() and text.get_visible() and not text.get_rotation() % 90
    ]
    found = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in shown]
    for name, box in found:
        assert figure.bbox.padded(1).containsx(box.x0), name
        assert figure.bbox.padded(1).containsx(box.x1), name
        assert figure.bbox.padded(1).containsy(box.y0), name
        assert figure.bbox.padded(1).containsy(box.y1), name
    for (name, box), (other, another) in itertools.combinations(found, 2):
        common = Bbox.intersection(box, another)
        assert common is None or min(common.width, common.height) < 1, (name, other)


@pytest.mark.parametrize(
    "figure",
    [
        retention_figure(
            retention("l1", "taylor", "random", "fgp", "a method with a long name"), WHERE, "macs"
        ),
        cost_figure(costs(), WHERE),
        curve_figure(curves(), WHERE),
    ],
    ids=["retention", "cost", "curves"],
)
def test_no_label_covers_another_or_leaves_the_picture(figure: Figure) -> None:
    boxes(figure)


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


def test_retention_of_nothing_says_so() -> None:
    figure = retention_figure(retention("l1").iloc[:0], WHERE, "macs")
    assert [text.get_text() for text in figure.axes[0].texts] == ["no cut network was evaluated"]


def test_costs_are_labelled_with_their_units() -> None:
    figure = cost_figure(costs(latency=math.nan), WHERE)
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "GMACs per image",
        "million parameters",
        "latency of a batch (ms)",
    ]
    assert figure.axes[0].get_ylabel() == "mIoU on streets test, 96x128 px (%)"
    assert [text.get_text() for text in figure.axes[2].texts] == ["not measured"]


def test_the_pareto_front_holds_what_nothing_beats_at_its_cost() -> None:
    points = pd.DataFrame(
        {"gmacs": [4.0, 3.0, 2.0, 2.0, 3.5], "miou_percent": [50.0, 45.0, 40.0, 44.0, 45.0]}
    )
    assert pareto(points, "gmacs").to_numpy().tolist() == [[2.0, 44.0], [3.0, 45.0], [4.0, 50.0]]


def test_curves_are_means_over_seeds_without_what_was_not_measured() -> None:
    figure = curve_figure(curves(), WHERE)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["training", "finetuning"]
    loss, miou = figure.axes[1].lines[0], figure.axes[3].lines[0]
    assert loss.get_ydata().tolist() == [2.5, 1.5]  # seeds 0 and 1: 2 and 3, 1 and 2
    assert miou.get_ydata().tolist() == [10.0, 20.0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "l1 0.3"]


def test_hostile_names_are_drawn() -> None:
    for figure in (
        retention_figure(retention(HOSTILE, "_hidden"), WHERE, HOSTILE),
        cost_figure(costs().replace("l1", HOSTILE), Where(dataset=HOSTILE, split="$", size_hw=(1, 1))),
    ):
        figure.savefig(io.BytesIO(), dpi=30)
