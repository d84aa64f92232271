"""Every figure of a sweep, with its caption and the data it shows."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from segprune.report import frames
from segprune.report.class_figure import class_figure
from segprune.report.collect import JobData, SweepData
from segprune.report.figures import cost_figure, curve_figure, speed_figure, taught_figure
from segprune.report.job_figures import layer_figure, score_figure
from segprune.report.references import is_control
from segprune.report.retention_figure import detail_figure, retention_figure
from segprune.report.style import Where
from segprune.report.teaching import base, verdicts
from segprune.result.png import png

NAMED = 12
"""Parts of a network that a caption names."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure.

    Attributes:
        name: File name without ending, different from all others.
        kind: ``method`` compares methods, ``class`` classes, ``teaching`` jobs with and without a teacher, ``job``
            shows one job.
        caption: What it shows.
        table: Its data.
        draw: Makes the figure.
    """

    name: str
    kind: str
    caption: str
    table: pd.DataFrame
    draw: Callable[[], Figure]

    @property
    def files(self) -> tuple[str, str]:
        """Names of the files of the figure and of its data."""
        return f"{self.name}.png", f"{self.name}.csv"

    @cached_property
    def png(self) -> bytes:
        """The figure as a file, drawn when it is first asked for."""
        return png(self.draw())


def gallery(data: SweepData) -> Iterator[Picture]:
    """The figures for which the sweep has data; of jobs that differ in the seed or after the cut, the first."""
    compared = [job for job in data.jobs if not is_control(job)] or data.jobs
    settings = list(dict.fromkeys(job.setting for job in compared if job.outcome.rows))
    for number, setting in enumerate(settings, start=1):
        where = _where(data, setting)
        rows = data.rows[data.rows["number"].isin([job.number for job in compared])]
        for option in rows.loc[rows["setting"] == setting, "option"].dropna().unique():
            yield from _of_budget(data, setting, str(option), where, f"{number}-{_slug(str(option))}")
        yield from _of_methods(data, setting, where, f"{number}")
    yield from _of_teaching(data)
    shown: set[object] = set()
    for job in data.jobs:
        # one cut may be trained in many ways
        cut = (job.method, job.outcome.budget, job.outcome.ratio)
        keys = {(job.setting, *cut), (job.entries.names.get("prune"), *cut)}
        if not keys & shown and job.entries.plan() is not None:
            shown |= keys
            yield from _of_job(job)


def save(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write each figure as PNG and its data as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in pictures:
        png, csv = (folder / name for name in picture.files)
        png.write_bytes(picture.png)
        picture.table.to_csv(csv, index=False)
        written += [png, csv]
    return written


def _of_methods(data: SweepData, setting: str, where: Where, number: str) -> Iterator[Picture]:
    table = frames.costs(data, setting)
    yield Picture(
        name=f"cost-{number}",
        kind="method",
        caption=f"mIoU of the last networks against what they cost, means over the seeds, {setting}. Darker marks "
        "are larger ratios; the blue band is the Pareto front: no network beats those on its discs at the same or "
        "a lower cost.",
        table=table,
        draw=partial(cost_figure, table, where),
    )
    table = frames.speeds(data, setting)
    if not table.empty:
        yield Picture(
            name=f"speed-{number}",
            kind="method",
            caption="Realisation efficiency: how much of the speed-up in MACs was measured as shorter latency, "
            f"means over the seeds, {setting}. Bars: standard deviation over seeds. Darker marks: larger ratios. "
            "Below the full line, time goes to what MACs do not count.",
            table=table,
            draw=partial(speed_figure, table, where),
        )
    table = frames.curves(data, setting)
    if not table.empty:
        yield Picture(
            name=f"curves-{number}",
            kind="method",
            caption=f"Learning curves, means over the seeds, {setting}. Darker lines are larger ratios. The select "
            "split picks the epoch that counts; it is not the report split.",
            table=table,
            draw=partial(curve_figure, table, where),
        )


def _of_budget(data: SweepData, setting: str, option: str, where: Where, number: str) -> Iterator[Picture]:
    table = frames.retention(data, setting, option)
    unit = str(data.rows.loc[data.rows["option"] == option, "budget"].iloc[0])
    yield Picture(
        name=f"retention-{number}",
        kind="method",
        caption=f"mIoU kept against what was removed, {setting}, budget={option}. Mean and standard "
        "deviation of what each seed keeps of its own dense network.",
        table=table,
        draw=partial(retention_figure, table, where, unit),
    )
    table = frames.details(data, setting, option)
    if not table.empty:
        yield Picture(
            name=f"details-{number}",
            kind="method",
            caption="What the last networks keep of mIoU, of boundary IoU, and of the recall of the "
            f"{_small_objects(data, setting)} small objects in the labels, {setting}, budget={option}. Bars: "
            "standard deviation over seeds.",
            table=table,
            draw=partial(detail_figure, table, where, unit),
        )
    table = frames.class_changes(data, setting, option)
    if not table.empty:
        yield Picture(
            name=f"classes-{number}",
            kind="class",
            caption=f"Change of each class's IoU from the dense network to the last one, means over the seeds, "
            f"{setting}, budget={option}. Grey: the class does not occur in the labels.",
            table=table,
            draw=partial(class_figure, table, where),
        )


def _of_teaching(data: SweepData) -> Iterator[Picture]:
    """Learning curves and the gain of each class, with and without a teacher."""
    for number, setting in enumerate(dict.fromkeys(verdict.setting for verdict in verdicts(data)), start=1):
        own = [job for job in data.jobs if base(job) == setting and job.outcome.rows]
        if not own:
            continue
        where = _where(data, own[0].setting)
        table = frames.taught_curves(data, setting)
        if not table.empty:
            yield Picture(
                name=f"teaching-curves-{number}",
                kind="teaching",
                caption=f"Finetuning with and without a teacher, means over the seeds, {setting}. The losses are "
                "in the data only: that of a taught network has the teacher's term in it.",
                table=table,
                draw=partial(taught_figure, table, where),
            )
        for option in dict.fromkeys(job.outcome.budget for job in own):
            table = frames.taught_classes(data, setting, option)
            if not table.empty:
                yield Picture(
                    name=f"teaching-classes-{number}-{_slug(option)}",
                    kind="teaching",
                    caption="How much higher the IoU of each class is with a teacher than without, means over the "
                    f"common seeds, {setting}, budget={option}. Grey: the class does not occur in the labels.",
                    table=table,
                    draw=partial(class_figure, table, where),
                )


def _of_job(job: JobData) -> Iterator[Picture]:
    asked = job.outcome
    what = f"job {job.number}: {job.method}, {asked.cut}, seed {asked.seed}, {job.setting}"
    scope = next((row.scope for row in asked.rows if row.scope), "global")
    table, points = frames.layers(job), frames.scores(job)
    name = f"{_slug(job.number)}-{_slug(asked.pruner)}"
    if table is not None and len(table):
        yield Picture(
            name=f"layers-{name}",
            kind="job",
            caption=f"Channels kept and removed by layer, {what}.{_unaligned(job)}{_whole(job)}",
            table=table,
            draw=partial(layer_figure, table),
        )
    if points is not None:
        yield Picture(
            name=f"scores-{name}",
            kind="job",
            caption=f"Scores and the cut ({scope} ranking), {what}. Floors, rounding and the last steps towards "
            "the budget can keep channels on the wrong side of the line.",
            table=points,
            draw=partial(score_figure, points, scope, (job.entries.plan() or {}).get("threshold")),
        )


def _unaligned(job: JobData) -> str:
    """The groups of a job's cut whose widths are no multiples of what the budget rounds to."""
    plan = job.entries.plan() or {}
    widths = [f"{name} {width}" for name, width in (plan.get("unaligned") or {}).items()]
    return f" No multiple of {plan['round_to']} is the width of {', '.join(widths)}." if widths else ""


def _whole(job: JobData) -> str:
    """What of the network was never cut, and why; nothing where all could be, or the plan does not say."""
    plan = job.entries.plan() or {}
    followed, scored = _few(plan.get("whole")), _few(plan.get("unscored"))
    told = f" {plan['cuttable']:.0%} of all channels can be cut. Whole: {followed}." if followed else ""
    return told + (f" Whole, since {job.outcome.pruner} cannot score it: {scored}." if scored else "")


def _few(whole: Sequence[Mapping[str, Any]] | None) -> str:
    """What stays whole, with the reasons; plans of earlier versions may not say."""
    named = [f"{one['layer']} ({one['reason']})" for one in whole or ()]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return f"{'; '.join(named[:NAMED])}{more}"


def _where(data: SweepData, setting: str) -> Where:
    row = data.rows[data.rows["setting"] == setting].iloc[0]
    return Where(
        dataset=row["dataset"], split=row["split"], size_hw=(int(row["size_h_px"]), int(row["size_w_px"]))
    )


def _small_objects(data: SweepData, setting: str) -> str:
    """Their number; the same in all rows unless the jobs count them differently."""
    found = data.rows.loc[data.rows["setting"] == setting, "small_objects"].dropna().unique()
    return " or ".join(f"{count:.0f}" for count in sorted(found))


def _slug(text: str) -> str:
    """Text as part of a file name."""
    return re.sub(r"\W+", "-", text)
