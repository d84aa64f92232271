"""Figures that compare methods: what is kept, at which cost, and how it was learned."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segprune.report.contest import UNITS
from segprune.report.statistics import over_seeds
from segprune.report.style import Where, empty, hue, legend_below, marker, plain

_STAGES = {"pruned": "right after the cut, BN re-estimated", "finetuned": "finetuned"}
_COSTS = {
    "gmacs": "GMACs per image",
    "mparams": "million parameters",
    "latency_ms": "latency of a batch (ms)",
}
_TRAININGS = {"train": "training", "prepare": "preparation", "finetune": "finetuning"}


def retention_figure(table: pd.DataFrame, where: Where, unit: str) -> Figure:
    """What is kept of mIoU against what was removed, one line per method; bars are sd over seeds.

    Args:
        table: See ``frames.retention``.
        where: What was measured on.
        unit: What the reached fraction is a fraction of.
    """
    stages = [stage for stage in _STAGES if (table["stage"] == stage).any()]
    figure = Figure(figsize=(4.4 * max(1, len(stages)) + 0.4, 4.0), layout="constrained")
    panels = figure.subplots(1, max(1, len(stages)), squeeze=False, sharey=True)[0]
    by = ["method", "ratio_asked", "stage"]
    x = table.groupby(by, dropna=False)["removed_percent"].mean()
    means = over_seeds(table, "kept_percent", by=by).set_index(by).join(x).reset_index()
    for ax, stage in zip(panels, stages, strict=False):
        for method, line in means[means["stage"] == stage].sort_values("removed_percent").groupby("method"):
            ax.errorbar(
                line["removed_percent"],
                line["mean"],
                yerr=line["sd"].fillna(0),
                label=plain(str(method)),
                color=hue(str(method)),
                marker=marker(str(method), means["method"]),
                markersize=5,
                linewidth=1.4,
                capsize=2,
            )
        ax.axhline(100, color=hue("dense"), linewidth=0.8, linestyle="--", label="dense network")
        ax.set_title(_STAGES[stage], fontsize=10)
        ax.set_xlabel(f"{plain(UNITS.get(unit, unit))} removed, reached (%)")
        ax.grid(alpha=0.3)
    panels[0].set_ylabel(f"mIoU kept, % of the dense network's\n({where.data})")
    if not stages:
        empty(panels[0], "no cut network was evaluated")
    legend_below(figure, panels)
    return figure


def cost_figure(table: pd.DataFrame, where: Where) -> Figure:
    """Mean IoU against achieved MACs, parameters and latency, with the Pareto front of each.

    Args:
        table: See ``frames.costs``.
        where: What was measured on.
    """
    figure = Figure(figsize=(12.6, 4.4), layout="constrained")
    panels = figure.subplots(1, len(_COSTS), sharey=True)
    for ax, (column, label) in zip(panels, _COSTS.items(), strict=True):
        measured = table.dropna(subset=[column, "miou_percent"])
        ax.set_xlabel(label)
        if measured.empty:
            empty(ax, "not measured")
            continue
        front = pareto(measured, column)
        ax.step(
            front[column],
            front["miou_percent"],
            where="post",
            color="#b9d3ee",
            linewidth=5,
            label="Pareto front",
        )
        for method, points in measured.sort_values(column).groupby("method"):
            _draw_points(ax, str(method), points, column, marker(str(method), table["method"]))
        ax.grid(alpha=0.3)
    panels[0].set_ylabel(where.miou)
    legend_below(figure, panels)
    return figure


def pareto(table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows that no other beats in mIoU at the same or a lower cost, cheapest first."""
    ordered = table.sort_values([cost, "miou_percent"], ascending=[True, False])
    before = ordered["miou_percent"].cummax().shift(fill_value=-math.inf)
    return ordered[ordered["miou_percent"] > before]


def curve_figure(table: pd.DataFrame, where: Where) -> Figure:
    """Loss and select mIoU by epoch, means over the seeds; a darker line is a larger ratio.

    Args:
        table: See ``frames.curves``.
        where: What was trained on.
    """
    stages = [stage for stage in _TRAININGS if (table["stage"] == stage).any()]
    count = max(1, len(stages))
    figure = Figure(figsize=(4.8 * count + 0.4, 5.6), layout="constrained")
    panels = figure.subplots(2, count, squeeze=False, sharex="col")
    by = ["stage", "method", "option", "ratio_asked", "epoch"]
    means = table.groupby(by, dropna=False)[["loss", "select_miou_percent"]].mean().reset_index()
    for column, stage in enumerate(stages):
        lines = means[means["stage"] == stage].groupby(["method", "option", "ratio_asked"], dropna=False)
        for _, line in lines:
            style = _line_style(line.iloc[0], means["method"])
            panels[0, column].plot(line["epoch"], line["loss"], **style)
            panels[1, column].plot(line["epoch"], line["select_miou_percent"], **style)
        panels[0, column].set_title(_TRAININGS[stage], fontsize=10)
        panels[1, column].set_xlabel("epoch")
        panels[1, column].set_xlim(0.5, means.loc[means["stage"] == stage, "epoch"].max() + 0.5)
        panels[1, column].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for ax in panels.flat:
        ax.grid(alpha=0.3)
    panels[0, 0].set_ylabel("training loss")
    panels[1, 0].set_ylabel(
        f"select mIoU (%)\n{plain(where.dataset)}, {where.size_hw[0]}x{where.size_hw[1]} px"
    )
    legend_below(figure, list(panels.flat))
    return figure


def _draw_points(ax: Axes, method: str, points: pd.DataFrame, column: str, mark: str) -> None:
    """One method's networks, joined by cost; a darker mark is a larger ratio."""
    label = plain(method)
    if method != "dense":
        ax.plot(points[column], points["miou_percent"], color=hue(method), linewidth=1.0)
    for _, point in points.iterrows():
        ax.plot(
            point[column],
            point["miou_percent"],
            color=hue(method, _shade(point["ratio_asked"])),
            marker="*" if method == "dense" else mark,
            markersize=12 if method == "dense" else 6,
            linestyle="none",
            label=label,
        )


def _line_style(network: pd.Series, methods: pd.Series) -> dict[str, Any]:
    method, ratio = str(network["method"]), network["ratio_asked"]
    return {
        "color": hue(method, _shade(ratio)),
        "marker": marker(method, methods),
        "markersize": 4,
        "linewidth": 1.2,
        "label": plain(method if pd.isna(ratio) else f"{method} {ratio:g}"),
    }


def _shade(ratio: Any) -> float:
    """The ratio that gives the colour's darkness; in the middle for a threshold."""
    return 0.45 if pd.isna(ratio) else float(ratio)
