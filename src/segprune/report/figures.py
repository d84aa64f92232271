"""Figures that compare methods: what a network costs, how much faster it is, and how it was learned."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segprune.config.protocol import UNTAUGHT
from segprune.report.style import Where, empty, hue, legend_below, marker
from segprune.result.label import labels, plain

_COSTS = {
    "gmacs": "GMACs per image",
    "mparams": "million parameters",
    "latency_percent": "latency, % of the dense network's",
}
_SHARES = {1.0: "-", 0.75: "--", 0.5: ":"}
_IN_A_ROW = 3
_TRAININGS = {"train": "training", "prepare": "preparation", "finetune": "finetuning"}


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
        ax.xaxis.set_major_locator(MaxNLocator(5))  # small networks have long numbers
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
            marker="o",
            markersize=13,
            label="Pareto front",
        )
        for method, points in measured.sort_values(column).groupby("method"):
            _draw_points(ax, points, column, "miou_percent", marker(str(method), table["method"]))
        ax.grid(alpha=0.3)
    panels[0].set_ylabel(where.miou)
    legend_below(figure, panels)
    return figure


def pareto(table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows for which no other one has a higher mIoU at the same or a lower cost, cheapest first."""
    ordered = table.sort_values([cost, "miou_percent"], ascending=[True, False])
    before = ordered["miou_percent"].cummax().shift(fill_value=-math.inf)
    return ordered[ordered["miou_percent"] > before]


def speed_figure(table: pd.DataFrame, where: Where) -> Figure:
    """Measured speed-up against that in MACs, with lines of realisation efficiency; bars are sd over seeds.

    Args:
        table: See ``frames.speeds``.
        where: What was measured on.
    """
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    ax = figure.subplots()
    farthest = max(1.1, 1.05 * float(table["macs_speedup"].max()))
    for share, style in _SHARES.items():
        line = [share * speed for speed in (1.0, farthest)]
        ax.plot(
            [1.0, farthest], line, style, color="#888888", linewidth=1, label=f"{100 * share:g} % realised"
        )
    for method, points in table.sort_values("macs_speedup").groupby("method"):
        ax.errorbar(
            points["macs_speedup"],
            points["speedup"],
            yerr=points["speedup_sd"].fillna(0),
            color=hue(str(method)),
            linestyle="none",
            capsize=2,
        )
        _draw_points(ax, points, "macs_speedup", "speedup", marker(str(method), table["method"]))
    ax.set_xlim(min(1.0, 0.95 * float(table["macs_speedup"].min())), farthest)
    spread = table["speedup_sd"].fillna(0)
    low = min(1.0, (table["speedup"] - spread).min())
    high = max(1.0, (table["speedup"] + spread).max())
    ax.set_ylim(low - 0.05 * high, 1.1 * high)
    ax.set_xlabel("speed-up in MACs (dense by cut)")
    ax.set_ylabel(f"measured speed-up (dense by cut)\n({where.data})")
    ax.grid(alpha=0.3)
    legend_below(figure, [ax])
    return figure


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


def taught_figure(table: pd.DataFrame, where: Where) -> Figure:
    """Select mIoU by epoch of finetunings with and without a teacher, means over the seeds; a panel for each cut.

    The training losses are left out: that of a taught network has the teacher's term in it.

    Args:
        table: See ``frames.taught_curves``.
        where: What was trained on.
    """
    cuts = [cut for _, cut in table.groupby(["method", "option", "ratio_asked"], dropna=False, sort=False)]
    columns = min(_IN_A_ROW, len(cuts))
    rows = math.ceil(len(cuts) / columns)
    figure = Figure(figsize=(max(6.4, 3.8 * columns + 0.4), 2.8 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    teachings = list(dict.fromkeys(table["teaching"]))
    titles = [_cut_title(cut.iloc[0]) for cut in cuts]
    texts = labels(titles)
    for ax, cut, title in zip(panels.flat, cuts, titles, strict=False):
        for teaching in teachings:
            line = cut[cut["teaching"] == teaching].groupby("epoch")["select_miou_percent"].mean()
            is_plain = teaching == UNTAUGHT
            ax.plot(
                line.index,
                line.to_numpy(),
                color="#222222" if is_plain else hue(teaching),
                linestyle="--" if is_plain else "-",
                marker=marker(teaching, teachings),
                markersize=4,
                linewidth=1.2,
                label=teaching,
            )
        ax.set_title(texts[title], fontsize=9)
        ax.set_xlabel("epoch of finetuning", fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(alpha=0.3)
    for ax in panels.flat[len(cuts) :]:
        ax.remove()
    data = f"{plain(where.dataset)}, {where.size_hw[0]}x{where.size_hw[1]} px"
    for ax in panels[:, 0]:
        ax.set_ylabel(f"select mIoU (%)\n{data}", fontsize=9)
    legend_below(figure, list(panels.flat[: len(cuts)]))
    return figure


def _draw_points(ax: Axes, points: pd.DataFrame, x: str, y: str, mark: str) -> None:
    """One method's networks, joined in order; a darker mark is a larger ratio."""
    method = str(points["method"].iloc[0])
    if method != "dense":
        ax.plot(points[x], points[y], color=hue(method), linewidth=1.0)
    for _, point in points.iterrows():
        ax.plot(
            point[x],
            point[y],
            color=hue(method, _shade(point["ratio_asked"])),
            marker=mark,
            markersize=12 if method == "dense" else 6,
            linestyle="none",
            label=method,
        )


def _cut_title(network: pd.Series) -> str:
    method, option, ratio = (network[name] for name in ("method", "option", "ratio_asked"))
    if pd.isna(option):
        return str(method)
    return f"{method}, {option if pd.isna(ratio) else f'{100 * ratio:g} % of {option}'}"


def _line_style(network: pd.Series, methods: pd.Series) -> dict[str, Any]:
    method, ratio = str(network["method"]), network["ratio_asked"]
    return {
        "color": hue(method, _shade(ratio)),
        "marker": marker(method, methods),
        "markersize": 4,
        "linewidth": 1.2,
        "label": method if pd.isna(ratio) else f"{method} {ratio:g}",
    }


def _shade(ratio: Any) -> float:
    """The ratio that gives the colour's darkness; in the middle for a threshold."""
    return 0.45 if pd.isna(ratio) else float(ratio)
