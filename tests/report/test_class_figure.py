import io
import math
from collections.abc import Iterable

import pandas as pd

from segprune.report.class_figure import MOST, class_figure
from tests.report.test_figures import HOSTILE, WHERE, boxes


def changes(ratios: Iterable[float | None] = (0.3, 0.5), classes: int = 3, methods: int = 2) -> pd.DataFrame:
    records = [
        {
            "ratio_asked": ratio,
            "method": f"method {m}",
            "class": f"class number {c}",
            "change_points": m - c + 0.25,
        }
        for ratio in ratios
        for m in range(methods)
        for c in range(classes)
    ]
    table = pd.DataFrame(records)
    table.loc[table["class"] == "class number 1", "change_points"] = math.nan
    return table


def test_changes_of_classes_are_written_into_their_cells() -> None:
    figure = class_figure(changes(), WHERE)
    first = figure.axes[0]
    # methods 0 and 1 by classes 0, 1 (which does not occur) and 2; 0.25 is rounded to the even neighbour 0.2
    assert [text.get_text() for text in first.texts] == ["+0.2", "-1.8", "+1.2", "-0.8"]
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["30 % asked", "50 % asked"]
    assert "streets test, 96x128 px" in figure.axes[-1].get_ylabel()


def test_a_threshold_has_a_block_of_its_own() -> None:
    figure = class_figure(changes(ratios=(None,)), WHERE)
    assert figure.axes[0].get_title(loc="left") == "threshold"
    assert len(figure.axes[0].texts) == 4


def test_classes_and_methods_that_begin_and_end_alike_have_different_labels() -> None:
    table = changes()
    table["class"] = "construction--" + table["class"].str[-1] + "--horizontal"
    table["method"] = (
        "slimming pruner.phase.schedule.epochs=" + table["method"].str[-1] + " budget.tolerance=0.01"
    )
    ax = class_figure(table, WHERE).axes[1]
    assert len({text.get_text() for text in ax.get_xticklabels()}) == 3
    assert len({text.get_text() for text in ax.get_yticklabels()}) == 2


def test_of_many_classes_those_that_change_most_are_shown_and_a_title_says_so() -> None:
    table = changes(
        ratios=(0.3, 0.5), classes=MOST + 9
    )  # a class of a higher number changes more; number 1 is nan
    table.loc[(table["class"] == "class number 0") & (table["method"] == "method 1"), "change_points"] = -99.0
    figure = class_figure(table, WHERE)
    shown = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert shown == ["class number 0", *(f"class number {n}" for n in range(10, MOST + 9))]
    assert figure.get_suptitle() == f"The {MOST} of {MOST + 9} classes that change most; the CSV file has all"
    assert class_figure(changes(classes=MOST), WHERE).get_suptitle() == ""
    boxes(figure)


def test_no_label_covers_another_or_leaves_the_picture() -> None:
    boxes(class_figure(changes(ratios=(0.3,), classes=19, methods=3), WHERE))


def test_hostile_names_are_drawn() -> None:
    class_figure(changes().replace("class number 0", HOSTILE), WHERE).savefig(io.BytesIO(), dpi=30)
