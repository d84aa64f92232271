import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from segprune.report.style import Where, empty, hue, legend_below, marker
from segprune.tracking.color import color


def test_methods_have_the_colour_of_the_tracking_ui_and_controls_are_grey() -> None:
    assert hue("taylor", 0.3) == color("taylor", 0.3)
    controls = ("dense", "half", "random", "l1")
    for control in controls:
        red, green, blue = bytes.fromhex(hue(control)[1:])
        assert red == green == blue
    assert len({hue(name) for name in controls}) == 4


def test_a_larger_ratio_is_darker() -> None:
    for name in ("taylor", "random", "l1"):
        light, dark = (sum(bytes.fromhex(hue(name, ratio)[1:])) for ratio in (0.1, 0.9))
        assert dark < light


def test_marks_tell_methods_apart() -> None:
    methods = [f"method {n}" for n in range(10)]
    assert len({marker(name, methods) for name in methods}) == 10
    assert marker("l1", ["taylor", "l1"]) == marker("l1", ["l1", "taylor", "l1"])


def test_a_method_has_the_same_mark_with_and_without_the_dense_network() -> None:
    assert marker("l1", ["l1", "taylor"]) == marker("l1", ["dense", "l1", "taylor"])
    assert marker("dense", ["dense", "l1"]) not in {marker(str(n), map(str, range(20))) for n in range(20)}


def test_what_was_measured_is_named_with_split_and_size() -> None:
    where = Where(dataset="streets", split="test", size_hw=(96, 128))
    assert where.miou == "mIoU on streets test, 96x128 px (%)"


def test_the_legend_names_each_method_once() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)
    for ax in axes:
        ax.plot([0, 1], label="l1")
    legend_below(figure, list(axes))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["l1"]


def test_the_legend_tells_methods_apart_whose_names_begin_and_end_alike() -> None:
    figure = Figure()
    ax = figure.subplots()
    names = [
        f"slimming pruner.phase.optimizer={how} pruner.phase.schedule.epochs=20" for how in ("sgd", "adamw")
    ]
    for name in names:
        ax.plot([0, 1], label=name)
    legend_below(figure, [ax])
    (legend,) = figure.legends
    assert len({text.get_text() for text in legend.get_texts()}) == 2


@pytest.mark.parametrize("count", [1, 2, 7])
def test_long_names_stay_inside_of_the_figure(count: int) -> None:
    figure = Figure(figsize=(13.2, 4), layout="constrained")
    ax = figure.subplots()
    for number in range(count):
        ax.plot([0], [number], "o", label=f"bn_scale budget.threshold=0.99{number}")
    legend_below(figure, [ax])
    FigureCanvasAgg(figure).draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_nothing_to_name_is_no_legend() -> None:
    figure = Figure()
    legend_below(figure, [figure.subplots()])
    assert figure.legends == []


def test_an_empty_plot_says_why() -> None:
    ax = Figure().subplots()
    empty(ax, "not measured")
    assert [text.get_text() for text in ax.texts] == ["not measured"]
