"""How far a sweep has come, what is missing, and how to finish it."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from segprune.report.collect import JobData, SweepData

_STATUSES = ("done", "reused", "failed", "killed", "running", "not started")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a sweep has come.

    Attributes:
        tally: How many jobs there are, and what became of them.
        advice: How the missing jobs come to an end; empty if none is missing.
        command: What to type for that; empty if there is nothing to type.
    """

    tally: str
    advice: str = ""
    command: str = ""

    @property
    def lines(self) -> list[str]:
        """What a console shows if jobs are missing."""
        return (
            [f"{self.tally}. {self.advice}", *([self.command] if self.command else [])] if self.advice else []
        )


def progress(data: SweepData) -> Progress:
    """How far a sweep has come; jobs that count as another one are left out."""
    statuses = [*(job.outcome.status for job in data.jobs), *("not started" for _ in data.unknown)]
    if not unfinished(data):
        return Progress(tally=f"{len(statuses)} jobs, {statuses.count('failed')} failed")
    found = [f"{count} {status}" for status in _STATUSES if (count := statuses.count(status))]
    tally = f"{len(statuses)} jobs{' asked' if data.is_noted else ''}: {', '.join(found)}"
    if data.state == "running":
        return Progress(
            tally=tally, advice="The sweep is still running; its report at the end has all of them."
        )
    if "running" in statuses:
        again = shlex.join(["segprune", "report", str(data.folder)])
        return Progress(tally=tally, advice="When the running jobs are over, look again:", command=again)
    if not data.finish:
        return Progress(tally=tally, advice="The command of the sweep finishes it.")
    advice = "This finishes the sweep; what is done comes from the store:"
    if data.state == "starting":
        advice = f"Its jobs were left to a queue. When none of them is there any more: {advice}"
    return Progress(tally=tally, advice=advice, command=data.finish)


def unfinished(data: SweepData) -> list[JobData | str]:
    """The jobs that were killed, are running or have not started; a number alone where no more is known."""
    return [*(job for job in data.jobs if job.outcome.is_open), *data.unknown]


def onward(data: SweepData) -> str | None:
    """The command that finishes the sweep; None if it is not the time for it."""
    found = progress(data).command
    return data.finish if found == data.finish and found else None


def not_yet(jobs: Iterable[JobData]) -> list[str]:
    """A reason why a comparison cannot be made yet; none if all of its jobs are over."""
    seeds: dict[str, list[int]] = {}
    for job in jobs:
        if job.outcome.is_open:
            seeds.setdefault(job.method, []).append(job.outcome.seed)
    named = [f"{method} (seed {', '.join(map(str, sorted(found)))})" for method, found in seeds.items()]
    return [f"not finished yet: {', '.join(named)}"] if named else []
