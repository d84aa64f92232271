"""Figures of one job: where its channels went, and why."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from segprune.report.style import KEPT, REMOVED, empty, legend_below
from segprune.result.label import labels

_BINS = 40


def layer_figure(table: pd.DataFrame) -> Figure:
    """Channels kept and removed of every layer, in the network's order from the top; backbone and head have titles.

    Args:
        table: See ``frames.layers``.
    """
    blocks = table["part"].ne(table["part"].shift()) & table["part"].notna()
    lines = np.arange(len(table)) + blocks.cumsum().to_numpy()  # a line is left for each title
    figure = Figure(figsize=(7.2, 0.22 * (len(table) + blocks.sum()) + 1.6), layout="constrained")
    ax = figure.subplots()
    ax.barh(lines, table["kept"], color=KEPT, label="kept")
    ax.barh(lines, table["removed"], left=table["kept"], color=REMOVED, hatch="///", label="removed")
    widest = table["channels"].max()
    for line, (kept, channels) in zip(lines, table[["kept", "channels"]].to_numpy(), strict=True):
        ax.text(channels + 0.01 * widest, line, f"{kept}/{channels}", va="center", fontsize=7)
    for _, block in table.assign(line=lines).groupby(blocks.cumsum()):
        if part := block["part"].iloc[0]:
            title = f"{part}: {block['kept'].sum()} of {block['channels'].sum()} channels kept"
            ax.text(0, block["line"].iloc[0] - 1, title, va="center", fontsize=8, weight="bold")
    ax.set_yticks(lines, labels(table["layer"], 36).values(), fontsize=7)
    ax.set_ylim(max(lines) + 0.6, -0.6)
    ax.set_xlim(0, 1.14 * widest)
    ax.set_xlabel("channels (kept/all)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, [ax])
    return figure


def score_figure(table: pd.DataFrame, scope: str, threshold: float | None = None) -> Figure:
    """Distribution of the channels' scores and the line of the cut.

    A global ranking has one line for all scores. A local one has a line in every layer, and layers differ in scale;
    so scores are drawn as their distance from their layer's line, in the layer's standard deviations.

    Args:
        table: See ``frames.scores``.
        scope: ``local`` or ``global`` ranking.
        threshold: The line, where a threshold was given; it is drawn also when nothing or all is below it.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    ax = figure.subplots()
    if scope == "local":
        drawn, line = _from_own_line(table), 0.0
        ax.set_xlabel("score minus the layer's cut, in the layer's standard deviations")
    else:
        drawn, line = table, _cut_line(table) if threshold is None else threshold
        ax.set_xlabel("score (all layers ranked together)")
    if drawn.empty or not np.isfinite(line):
        empty(ax, "nothing was removed")
        return figure
    kept, removed = drawn.loc[drawn["is_kept"], "score"], drawn.loc[~drawn["is_kept"], "score"]
    if scope == "local":
        edges = _edges(drawn["score"], line)
    else:  # scores may span many powers of ten, and be zero or negative
        width = float(drawn["score"].abs().median()) or 1.0
        edges = width * np.sinh(_edges(np.arcsinh(drawn["score"] / width), np.arcsinh(line / width)))
        ax.set_xscale("asinh", linear_width=width)
        ax.set_xticks(edges[1 : -1 : max(1, len(edges) // 6)])
        ax.xaxis.set_major_formatter("{x:.2g}")
        ax.xaxis.set_minor_locator(NullLocator())
    below, above = (np.histogram(scores, bins=edges)[0] for scores in (kept, removed))
    ax.stairs(below, edges, fill=True, color=KEPT, label="kept")
    ax.stairs(below + above, edges, baseline=below, fill=True, color=REMOVED, label="removed")
    ax.axvline(line, color="black", linestyle="--", linewidth=1, label="cut")
    ax.set_ylabel("channels")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, [ax])
    return figure


def _cut_line(table: pd.DataFrame) -> float:
    """Halfway between the highest removed score and the next kept one; nan when nothing is removed."""
    kept, highest = table.loc[table["is_kept"], "score"], table.loc[~table["is_kept"], "score"].max()
    above = kept[kept > highest].min()
    return float(highest if pd.isna(above) else (highest + above) / 2)


def _edges(scores: pd.Series, line: float) -> NDArray[np.float64]:
    """Bins around all scores, with an edge at the line."""
    low, high = min(scores.min(), line), max(scores.max(), line)
    step = (high - low) / _BINS or 1.0
    # one bin more on both sides, since rounding may move a score
    first, last = -math.ceil((line - low) / step) - 1, math.ceil((high - line) / step) + 1
    return np.asarray(line + step * np.arange(first, last + 1), dtype=np.float64)


def _from_own_line(table: pd.DataFrame) -> pd.DataFrame:
    """The scores of layers that lost channels, as distances from halfway between removed and kept ones."""
    parts = []
    for _, layer in table.groupby("layer", sort=False):
        kept, removed = layer.loc[layer["is_kept"], "score"], layer.loc[~layer["is_kept"], "score"]
        if len(kept) and len(removed):
            line, sd = (kept.min() + removed.max()) / 2, layer["score"].std()
            parts.append(layer.assign(score=(layer["score"] - line) / sd if sd > 0 else 0.0))
    return pd.concat(parts) if parts else table.iloc[:0]
