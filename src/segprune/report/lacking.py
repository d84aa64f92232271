"""What a comparison of methods lacks to be fair, now and when all of its jobs will have finished."""

from collections.abc import Iterator, Mapping, Sequence

from segprune.config.protocol import NEVER_CUT
from segprune.report.collect import JobData
from segprune.report.contest import Standing
from segprune.report.paired import FEWEST_SEEDS, by_seed, measured
from segprune.report.references import Reference, is_trained

CONTROLS = ("random", "l1")
"""A method has to beat chance and the norm of the filters."""
GOOD_SEEDS = 3


def lacking(
    standings: Sequence[Standing],
    jobs: Sequence[JobData],
    controls: Sequence[Reference],
    dense: Sequence[JobData],
) -> list[str]:
    """Reasons why there can be no winner whatever the numbers are; unfinished jobs count as finished ones.

    Args:
        standings: The methods at the budget.
        jobs: All jobs that were to be there.
        controls: Those that finished.
        dense: Those of the control ``dense`` that did not finish yet.
    """
    seeds = {standing.method: set(standing.seeds) for standing in standings}
    for job in jobs:
        if job.outcome.is_open:
            seeds.setdefault(job.method, set()).add(job.outcome.seed)
    reasons = []
    if len(seeds) < 2:
        reasons.append("there are not two methods at this budget to compare")
    if unknown := [text for standing in standings if (text := _unmeasured(standing, jobs))]:
        reasons.append(f"no mIoU was measured of {', '.join(unknown)}")
    reasons += _absent(jobs, seeds)
    finetuned = {seed for control in controls if control.protocol == NEVER_CUT for seed in control.seeds}
    finetuned |= {job.outcome.seed for job in dense}
    trained = {job.outcome.seed for job in jobs if job.outcome.rows and is_trained(job)}
    if any(set(standing.seeds) & trained - finetuned for standing in standings):
        reasons.append("no dense network finetuned by the same schedule")
    if few := [method for method, found in seeds.items() if len(found) < FEWEST_SEEDS]:
        reasons.append(f"fewer than {FEWEST_SEEDS} seeds of {', '.join(few)} ({GOOD_SEEDS} are recommended)")
    if len(set(map(frozenset, seeds.values()))) > 1:
        reasons.append("the methods were not run with the same seeds")
    return reasons


def _unmeasured(standing: Standing, jobs: Sequence[JobData]) -> str:
    """A method without an mIoU in some seeds, which it names, or in all; empty if there is none."""
    known = measured(by_seed(job for job in jobs if job.method == standing.method))
    seeds = [str(seed) for seed in standing.seeds if seed not in known]
    if not seeds or not known:
        return standing.method if seeds else ""
    return f"{standing.method} in seed {' and '.join(seeds)}"


def _absent(jobs: Sequence[JobData], seeds: Mapping[str, set[int]]) -> Iterator[str]:
    """The controls that are not among the methods, and why."""
    asked = {job.outcome.pruner for job in jobs}
    ran = {job.outcome.pruner for job in jobs if job.outcome.status != "failed"}
    there = {job.outcome.pruner for job in jobs if job.method in seeds}
    for absent, say in (
        ([control for control in CONTROLS if control not in asked], "no {}"),
        ([control for control in CONTROLS if control in asked - ran], "the {} failed"),
        ([control for control in CONTROLS if control in ran - there], "the {} ran, but off the budget"),
    ):
        if absent:
            plural = "controls" if len(absent) > 1 else "control"
            yield say.format(f"{plural} {' and '.join(absent)}")
