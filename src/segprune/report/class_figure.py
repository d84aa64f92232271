"""Figure of the damage by class."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from segprune.report.style import Where
from segprune.result.label import labels

MOST = 21
"""Classes up to which the cells can be read at the width of a page."""


def class_figure(table: pd.DataFrame, where: Where) -> Figure:
    """Change of each class's IoU against the dense network, methods by classes, one block per ratio.

    Of more than ``MOST`` classes, those whose IoU changes most in any block have a place, and a title says so.

    Args:
        table: See ``frames.class_changes``.
        where: What was measured on.
    """
    ratios = list(dict.fromkeys(table["ratio_asked"]))
    every = table["change_points"].abs().groupby(table["class"], sort=False).max()
    classes = [name for name in every.index if name in every.nlargest(MOST).index or len(every) <= MOST]
    methods = table["method"].nunique()
    size = (0.52 * len(classes) + 3.4, len(ratios) * (0.3 * methods + 0.5) + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(ratios), 1, squeeze=False, sharex=True)[:, 0]
    if len(classes) < len(every):
        title = f"The {len(classes)} of {len(every)} classes that change most; the CSV file has all"
        figure.suptitle(title, fontsize=10)
    limit = max(1.0, float(np.nanmax(np.abs(table["change_points"]), initial=0.0)))
    for ax, ratio in zip(panels, ratios, strict=True):
        block = table[(table["ratio_asked"] == ratio) | (pd.isna(ratio) & table["ratio_asked"].isna())]
        values = block.pivot_table(
            index="method", columns="class", values="change_points", sort=False, dropna=False
        ).reindex(columns=classes)
        ax.set_facecolor("#dddddd")  # a class that does not occur
        image = ax.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        for (row, column), value in np.ndenumerate(values.to_numpy()):
            if np.isfinite(value):
                shade = "white" if abs(value) > 0.6 * limit else "black"
                ax.text(
                    column,
                    row,
                    f"{round(value, 1) + 0:+.1f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=shade,
                )
        ax.set_yticks(range(len(values)), labels(values.index).values(), fontsize=8)
        ax.set_title("threshold" if pd.isna(ratio) else f"{100 * ratio:g} % asked", fontsize=9, loc="left")
    panels[-1].set_xticks(
        range(len(classes)), labels(classes, 20).values(), rotation=45, ha="right", fontsize=8
    )
    figure.colorbar(image, ax=panels, label=f"IoU change (points)\n{where.data}", fraction=0.04)
    return figure
