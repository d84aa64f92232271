"""Jobs of two kinds, seed by seed: how much higher the mIoU of the one is."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from segprune.report.collect import JobData
from segprune.report.statistics import LEVEL, Counts, Difference, Scatter, image_difference, seed_difference

log = logging.getLogger(__name__)
FEWEST_SEEDS = 2
BySeed = Mapping[int, JobData]
"""Seed -> the finished job."""


def by_seed(jobs: Iterable[JobData]) -> BySeed:
    """Those of jobs that differ by their seed only which were evaluated."""
    return {job.outcome.seed: job for job in jobs if job.outcome.is_finished and job.outcome.rows}


def measured(jobs: BySeed) -> dict[int, float]:
    """Seed -> mIoU of the last network in percent, where one was measured; the seeds in order."""
    found = {seed: jobs[seed].outcome.rows[-1].number("miou_percent") for seed in sorted(jobs)}
    return {seed: miou for seed, miou in found.items() if not math.isnan(miou)}


def difference(
    one: BySeed, other: BySeed, *, level: float = LEVEL, scatter: Scatter | None = None
) -> Difference | None:
    """How much higher the mIoU of the last networks of ``one`` is than that of ``other``.

    With an interval over the report images if their counts are kept, and with one over the seeds if there are two;
    None if there is neither. Seeds in which no mIoU was measured are left out. ``level`` and ``scatter`` as in
    ``image_difference``.
    """
    seeds = [seed for seed in measured(one) if seed in measured(other)]
    ours, theirs = _counts(one, seeds), _counts(other, seeds)
    if len(ours) == len(theirs) == len(seeds) > 0:
        try:
            return image_difference(ours, theirs, level=level, scatter=scatter)
        except ValueError as error:
            log.warning("jobs %s and %s: %s", one[seeds[0]].number, other[seeds[0]].number, error)
    if len(seeds) < FEWEST_SEEDS:
        return None
    return seed_difference(
        *({seed: miou for seed, miou in measured(jobs).items() if seed in seeds} for jobs in (one, other)),
        level=level,
        scatter=scatter,
    )


def on_other_images(one: BySeed, other: BySeed) -> bool:
    """Whether the counts that are kept of the last networks are not all of the same report images."""
    found = [counts.sum(axis=2) for jobs in (one, other) for counts in _counts(jobs, sorted(jobs))]
    return any(not np.array_equal(labels, found[0]) for labels in found[1:])


def _counts(jobs: BySeed, seeds: Sequence[int]) -> list[Counts]:
    """Those of the last networks, where they are kept."""
    found = [jobs[seed].entries.image_counts(jobs[seed].outcome.rows[-1].stage) for seed in seeds]
    return [counts for counts in found if counts is not None]
