"""Which classes are taken for which: the confusion counts as a table and as a figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from segprune.result.label import labels

if TYPE_CHECKING:
    import pandas as pd

_PANEL_INCHES = 2.4
_INCHES_PER_CLASS = 0.34
_MOST_NUMBERS = 30
"""Classes up to which the cells hold their numbers; with more they would be too small to read."""
_LEAST = 0.5
"""Percent that is written as a number."""
_LONGEST = 18
"""Letters of a class name, unless it takes more to tell two apart."""


def confusion_table(classes: Sequence[str], counts: Mapping[str, Tensor]) -> "pd.DataFrame":
    """The pixels of each true class by the class that they were predicted as.

    Args:
        classes: K names.
        counts: Network -> (K, K) int64, rows true, columns predicted.

    Returns:
        One row per network and true class; columns ``stage``, ``class``, and one per predicted class.
    """
    import pandas as pd

    tables = [
        pd.DataFrame(found.numpy(), columns=[f"as {name}" for name in classes]).assign(
            **{"stage": stage, "class": list(classes)}
        )
        for stage, found in counts.items()
    ]
    whole = pd.concat(tables, ignore_index=True)
    return whole[["stage", "class", *(f"as {name}" for name in classes)]]


def confusion_figure(classes: Sequence[str], counts: Mapping[str, Tensor]) -> Figure:
    """One panel per network: the share of each true class, in percent of its labelled pixels, by predicted class.

    A class that no label holds has a grey row, and a share that would round to 0 has a dot. The figure belongs to
    no global state.

    Args:
        classes: K names.
        counts: Title -> (K, K) int64, rows true, columns predicted.
    """
    names = list(labels(classes, _LONGEST).values())
    side = _PANEL_INCHES + _INCHES_PER_CLASS * len(names)
    figure = Figure(figsize=(side * len(counts) + 0.8, side), layout="constrained")
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    for ax, (title, found) in zip(panels, counts.items(), strict=True):
        pixels = found.numpy().astype(np.float64)
        labelled = pixels.sum(axis=1, keepdims=True)
        percent = np.where(labelled > 0, 100 * pixels / np.where(labelled > 0, labelled, 1.0), np.nan)
        ax.set_facecolor("#dddddd")
        image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        if len(names) <= _MOST_NUMBERS:
            for row, column in np.argwhere(percent >= _LEAST):
                value = percent[row, column]
                shade = "white" if value > 60 else "black"
                number = ax.text(
                    column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=shade
                )
                number.set_in_layout(False)  # it lies in its cell
            rows, columns = np.nonzero((pixels > 0) & (percent < _LEAST))
            ax.autoscale(enable=False)  # the dots lie in their cells too
            ax.scatter(columns, rows, s=2, color="black", linewidths=0)
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        ax.set_yticks(range(len(names)), names, fontsize=8)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("predicted as")
    panels[0].set_ylabel("true class")
    label = "% of the pixels of the true class (dot: less than 0.5)"
    figure.colorbar(image, ax=list(panels), label=label, fraction=0.04)
    return figure
