import io
import itertools
import math

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from segprune.report.figures import cost_figure, curve_figure, pareto, speed_figure, taught_figure
from segprune.report.style import Where

WHERE = Where(dataset="streets", split="test", size_hw=(96, 128))
HOSTILE = "$\\frac{_<b>\n"


def costs(latency: float = 80.0) -> pd.DataFrame:
    points = [
        ("dense", None, 50.0, 4.0),
        ("l1", 0.3, 45.0, 3.0),
        ("l1", 0.5, 40.0, 2.0),
        ("l2", 0.5, 44.0, 2.0),
    ]
    return pd.DataFrame(
        [
            {"method": method, "ratio_asked": ratio, "miou_percent": miou, "gmacs": gmacs, "mparams": gmacs}
            | {"latency_percent": latency}
            for method, ratio, miou, gmacs in points
        ]
    )


def speeds(*methods: str, spread: float = 0.1) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": method,
                "ratio_asked": ratio,
                "macs_speedup": 1 / (1 - ratio),
                "speedup": 1 + number / 10,
            }
            | {"speedup_sd": spread}
            for (number, method), ratio in itertools.product(enumerate(methods), (0.3, 0.5))
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


def many() -> pd.DataFrame:
    """Learning curves whose legend is longer than a figure is high."""
    return pd.concat([curves().assign(method=f"a method of the number {number}") for number in range(40)])


def taught() -> pd.DataFrame:
    """Of a large grid: eight teachings and none, of four cuts."""
    teachings = [
        "none",
        *(f"{loss}; distill.match={way}" for loss in "abcd" for way in ("epochs", "compute")),
    ]
    return pd.DataFrame(
        [
            {"method": method, "option": "macs", "ratio_asked": ratio, "teaching": teaching, "seed": seed}
            | {"epoch": epoch, "loss": 1.0, "select_miou_percent": 10.0 * number + seed + epoch}
            for method in ("l1", "taylor")
            for ratio in (0.5, 0.7)
            for number, teaching in enumerate(teachings)
            for seed in (0, 1)
            for epoch in (1, 2)
        ]
    )


def test_every_cut_has_a_panel_with_a_line_for_each_teaching() -> None:
    figure = taught_figure(taught(), WHERE)
    panels = figure.axes
    assert [ax.get_title() for ax in panels] == [
        f"{method}, {percent} % of macs" for method in ("l1", "taylor") for percent in (50, 70)
    ]
    assert [len(ax.lines) for ax in panels] == [9] * 4
    plain, first, *_ = panels[0].lines
    assert plain.get_ydata().tolist() == [1.5, 2.5]
    assert first.get_ydata().tolist() == [11.5, 12.5]
    assert len(figure.legends[0].get_texts()) == 9


def test_cuts_that_are_called_alike_have_titles_of_their_own() -> None:
    names = {
        "l1": "slimming budget.tolerance=0.01 budget.by=1",
        "taylor": "slimming budget.tolerance=0.02 budget.by=1",
    }
    table = taught()
    figure = taught_figure(table.assign(method=table["method"].map(names)), WHERE)
    assert len({ax.get_title() for ax in figure.axes}) == 4


@pytest.mark.parametrize(
    "figure",
    [
        taught_figure(taught(), WHERE),
        curve_figure(many(), WHERE),
        cost_figure(costs(), WHERE),
        speed_figure(speeds("l1", "taylor", "random", "fgp", "a method with a long name"), WHERE),
        curve_figure(curves(), WHERE),
    ],
    ids=["taught", "many", "cost", "speed", "curves"],
)
def test_no_label_covers_another_or_leaves_the_picture(figure: Figure) -> None:
    boxes(figure)


def test_costs_of_a_small_network_have_few_numbers_since_they_are_long() -> None:
    table = costs().assign(gmacs=[0.0242, 0.0126, 0.0065, 0.0112], mparams=[0.0171, 0.0084, 0.0043, 0.0044])
    for ax in cost_figure(table, WHERE).axes:
        assert sum(ax.viewLim.containsx(tick) for tick in ax.get_xticks()) <= 6


def test_costs_are_labelled_with_their_units() -> None:
    figure = cost_figure(costs(latency=math.nan), WHERE)
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "GMACs per image",
        "million parameters",
        "latency, % of the dense network's",
    ]
    assert figure.axes[0].get_ylabel() == "mIoU on streets test, 96x128 px (%)"
    assert [text.get_text() for text in figure.axes[2].texts] == ["not measured"]


def test_speed_is_shown_as_counted_and_as_measured_with_the_lines_of_its_efficiency() -> None:
    table = speeds("l1", spread=math.nan).assign(speedup=[1.2, 1.5])
    (ax,) = speed_figure(table, WHERE).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines if line.get_label()[0] != "_"}
    full, half = lines["100 % realised"], lines["50 % realised"]
    assert [y / x for x, y in full] == [1.0, 1.0]
    assert [y / x for x, y in half] == [0.5, 0.5]
    marks = [line.get_xydata().tolist() for line in ax.lines if line.get_label() == "l1"]
    assert marks == [[[pytest.approx(1 / 0.7), 1.2]], [[2.0, 1.5]]]
    assert (ax.get_xlabel(), ax.get_ylabel().split("\n")[0]) == (
        "speed-up in MACs (dense by cut)",
        "measured speed-up (dense by cut)",
    )


def test_what_is_slower_than_the_dense_network_is_in_the_picture() -> None:
    (ax,) = speed_figure(speeds("l1").assign(speedup=[0.5, 1.1]), WHERE).axes
    assert ax.get_ylim()[0] < 0.5
    assert ax.get_ylim()[1] > 1.1


def test_bars_of_the_spread_over_seeds_are_whole() -> None:
    (ax,) = speed_figure(speeds("l1", spread=1.5).assign(speedup=[1.0, 2.0]), WHERE).axes
    assert ax.get_ylim()[0] < -0.5
    assert ax.get_ylim()[1] > 3.5


def test_a_front_of_one_network_is_drawn() -> None:
    ax = cost_figure(costs().assign(miou_percent=[50.0, 45.0, 40.0, 60.0]), WHERE).axes[0]
    (front,) = (line for line in ax.lines if line.get_label() == "Pareto front")
    assert front.get_xydata().tolist() == [[2.0, 60.0]]
    assert front.get_marker() == "o"
    assert front.get_markersize() > max(line.get_markersize() for line in ax.lines if line is not front)


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
        speed_figure(speeds(HOSTILE, "_hidden"), WHERE),
        cost_figure(costs().replace("l1", HOSTILE), Where(dataset=HOSTILE, split="$", size_hw=(1, 1))),
    ):
        figure.savefig(io.BytesIO(), dpi=30)
