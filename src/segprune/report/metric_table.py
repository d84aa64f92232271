"""Every metric of the methods at one budget, for those who look for more than mIoU."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from segprune.report.collect import SweepData
from segprune.report.contest import Contest
from segprune.report.references import is_control
from segprune.result.metrics import declared
from segprune.result.table import MISSING


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric.

    Attributes:
        name: Says its unit.
        about: What it is.
        better: Which direction is better.
        values: Means over the seeds as texts: the dense network's, then those of the standings.
    """

    name: str
    about: str
    better: str
    values: tuple[str, ...]


def metric_table(data: SweepData, contest: Contest) -> Iterator[Line]:
    """The metrics of a contest that were measured, in the order of the columns of a row."""
    jobs = [
        job.number
        for job in data.jobs
        if (job.setting, job.outcome.budget, job.outcome.ratio)
        == (contest.setting, contest.budget, contest.ratio)
        and not is_control(job)
    ]
    first = data.rows[data.rows["number"].isin(jobs)].drop_duplicates("number")
    dense = first.groupby("seed")[list(declared())].mean().mean()
    for metric in declared().values():
        values = [float(dense[metric.name]), *(float(one.values[metric.name]) for one in contest.standings)]
        known = [None if math.isnan(value) else metric.shown(value) for value in values]
        if any(value is not None for value in known):
            yield Line(
                name=metric.shown_name,
                about=metric.about.replace("`", ""),
                better=metric.better,
                values=tuple(map(_text, known)),
            )


def _text(value: float | None) -> str:
    """Five digits, and all before the point."""
    if value is None:
        return MISSING
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.5g}"
