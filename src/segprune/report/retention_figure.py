"""Figures of what the cut networks keep, against how much was removed."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segprune.report.contest import UNITS
from segprune.report.statistics import over_seeds
from segprune.report.style import Where, empty, hue, legend_below, marker
from segprune.result.label import plain

_STAGES = {"pruned": "right after the cut, BN re-estimated", "finetuned": "finetuned"}
_NARROWEST = 5.0
"""Percent points on the axis: methods at one budget are not to look far apart for the last channel's sake."""


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """The rows that have a value in the figure's column, over a column of what was removed of a unit."""

    value: str
    title: str
    unit: str
    x: str = "ratio_reached_percent"


def retention_figure(table: pd.DataFrame, where: Where, unit: str) -> Figure:
    """What is kept of mIoU against what was removed, one line per method; bars are sd over seeds.

    A budget of other units than MACs has a panel more: the last networks by the MACs that went with it.

    Args:
        table: See ``frames.retention``.
        where: What was measured on.
        unit: What the reached fraction is a fraction of.
    """
    panels = [
        _Panel(value=stage, title=title, unit=unit)
        for stage, title in _STAGES.items()
        if (table["stage"] == stage).any()
    ]
    if panels and unit != "macs":
        last = panels[-1]
        panels.append(
            _Panel(value=last.value, title=f"{last.title}, by MACs", unit="macs", x="macs_removed_percent")
        )
    return _panels(table, "stage", panels, f"mIoU kept, % of the dense network's\n({where.data})")


def detail_figure(table: pd.DataFrame, where: Where, unit: str) -> Figure:
    """The same for the last networks, with what breaks before mIoU does: borders and small objects.

    Args:
        table: See ``frames.details``.
        where: What was measured on.
        unit: What the reached fraction is a fraction of.
    """
    dense = table.groupby("measure", sort=False)["dense_percent"].mean()
    panels = [
        _Panel(value=str(name), title=f"{name}; dense: {value:.1f} %", unit=unit)
        for name, value in dense.items()
        if value > 0
    ]
    return _panels(table, "measure", panels, f"kept, % of the dense network's\n({where.data})")


def _panels(table: pd.DataFrame, column: str, panels: Sequence[_Panel], label: str) -> Figure:
    """The panels side by side."""
    count = max(1, len(panels))
    figure = Figure(figsize=(4.2 * count + 0.6, 4.0), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    by = ["method", "ratio_asked", column]
    means = over_seeds(table, "kept_percent", by=by).set_index(by)
    for ax, panel in zip(axes, panels, strict=False):
        x = table.groupby(by, dropna=False)[panel.x].mean().rename("x")
        found = means.join(x).reset_index()
        _draw(ax, found[found[column] == panel.value], found["method"])
        ax.set_title(panel.title, fontsize=10)
        ax.set_xlabel(f"{plain(UNITS.get(panel.unit, panel.unit))} removed, reached (%)")
    axes[0].set_ylabel(label)
    if not panels:
        empty(axes[0], "no cut network was evaluated")
    legend_below(figure, axes)
    return figure


def _draw(ax: Axes, means: pd.DataFrame, methods: pd.Series) -> None:
    """A line per method, and that of the dense network."""
    for method, line in means.sort_values("x").groupby("method"):
        ax.errorbar(
            line["x"],
            line["mean"],
            yerr=line["sd"].fillna(0),
            label=str(method),
            color=hue(str(method)),
            marker=marker(str(method), methods),
            markersize=5,
            linewidth=1.4,
            capsize=2,
        )
    ax.axhline(100, color=hue("dense"), linewidth=0.8, linestyle="--", label="dense network")
    ax.grid(alpha=0.3)
    low, high = ax.get_xlim()
    wider = max(0.0, _NARROWEST - (high - low)) / 2
    ax.set_xlim(low - wider, high + wider)
