"""Controls that a method has to be compared with: networks that need no pruning method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from segprune.report.collect import STANDARD, JobData
from segprune.report.paired import BySeed, by_seed, difference
from segprune.report.statistics import Difference

NAMES = {
    "dense": "dense network, finetuned by the same schedule",
    "half": "half the channels in every layer, trained like the dense network",
    "scratch_e": "trained from scratch for as many epochs as the dense network",
    "scratch_b": "trained from scratch for as much compute as the dense network",
}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A network that a method should beat, or be close to.

    Attributes:
        protocol: Which control it is.
        method: The method it is compared with: the best one, or the one whose cut network it is.
        seeds: Those that finished.
        mean: mIoU in percent, mean over the seeds.
        sd: Its standard deviation; nan for one seed.
        macs_kept: Fraction of the dense network's MACs, mean over the seeds.
        ahead: How much higher the method's mIoU is; None if there are neither images nor seeds for an interval.
    """

    protocol: str
    method: str
    seeds: tuple[int, ...]
    mean: float
    sd: float
    macs_kept: float
    ahead: Difference | None

    @property
    def name(self) -> str:
        """The control in words."""
        what = NAMES.get(self.protocol, self.protocol)
        return f"{self.method}, {what}" if self.protocol.startswith("scratch") else what


def references(
    jobs: Sequence[JobData], asked: JobData, methods: Mapping[str, BySeed], best: str
) -> Iterator[Reference]:
    """The controls among the jobs of a sweep that concern one setting, budget and ratio.

    Args:
        jobs: All jobs of the sweep.
        asked: A job with the setting, budget and ratio.
        methods: Method -> its finished jobs there.
        best: The best of them.
    """
    near = [job for job in jobs if _parts(job) <= _parts(asked)]
    for protocol in ("dense", "half"):
        yield from _reference(
            protocol, [job for job in near if job.outcome.protocol == protocol], best, methods[best]
        )
    for method, finished in methods.items():
        for protocol in ("scratch_e", "scratch_b"):
            own = [job for job in near if job.method == f"{method} {protocol}" and _cut(job) == _cut(asked)]
            yield from _reference(protocol, own, method, finished)


def is_control(job: JobData) -> bool:
    """Whether a job is one of those controls; random and l1 are methods like all others."""
    return job.outcome.protocol != STANDARD


def _reference(protocol: str, jobs: Sequence[JobData], method: str, best: BySeed) -> Iterator[Reference]:
    """One reference, or none where no job finished."""
    found = by_seed(jobs)
    if found:
        rows = [job.outcome.rows[-1] for job in found.values()]
        miou = pd.Series([row.number("miou_percent") for row in rows])
        yield Reference(
            protocol=protocol,
            method=method,
            seeds=tuple(sorted(found)),
            mean=float(miou.mean()),
            sd=float(miou.std()),
            macs_kept=float(pd.Series([row.number("macs_kept") for row in rows]).mean()),
            ahead=difference(best, found),
        )


def _cut(job: JobData) -> tuple[str, float | None]:
    return job.outcome.budget, job.outcome.ratio


def _parts(job: JobData) -> set[str]:
    """The parts of a setting; that of a control has fewer."""
    return set(job.setting.split("; "))
