"""Controls that a method has to be compared with: networks that need no pruning method."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from segprune.config.protocol import NEVER_CUT
from segprune.report.collect import STANDARD, JobData
from segprune.report.paired import BySeed, by_seed, difference
from segprune.report.statistics import Difference

NAMES = {
    "dense": "dense network, finetuned by the same schedule",
    "half": "half the channels in every layer, trained like the dense network",
    "scratch_e": "trained from scratch for as many epochs as the dense network",
    "scratch_b": "trained from scratch for as much compute as the dense network",
}
_UNTRAINED = ("pruned_raw", "pruned")
"""The stages of rows of a network that nobody trained after its cut."""


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
    """The controls of a sweep that concern one setting, budget and ratio and are what they are called.

    Args:
        jobs: All jobs of the sweep.
        asked: A job with the setting, budget and ratio.
        methods: Method -> its finished jobs there.
        best: The best of them.
    """
    for protocol, method, found in _concerning(jobs, asked, methods):
        true = [job for job in found if not _fault(job) and _is_trained_like(job, methods[method or best])]
        yield from _reference(protocol, true, method or best, methods[method or best])


def unfinished_controls(jobs: Sequence[JobData], asked: JobData, methods: Iterable[str]) -> list[JobData]:
    """The controls that concern one setting, budget and ratio and have not finished.

    Args:
        jobs: All jobs of the sweep.
        asked: A job with the setting, budget and ratio.
        methods: The methods there.
    """
    return [job for _, _, found in _concerning(jobs, asked, methods) for job in found if job.outcome.is_open]


def false_controls(jobs: Sequence[JobData], asked: JobData, methods: Mapping[str, BySeed]) -> list[str]:
    """What is wrong with the controls that are not what they are called, by what was measured of them.

    Args as of ``references``.
    """
    concerning = [by_seed(found) for _, _, found in _concerning(jobs, asked, methods)]
    return false_among(job for found in concerning for job in found.values())


def false_among(jobs: Iterable[JobData]) -> list[str]:
    """What is wrong with those finished controls among jobs that are not what they are called."""
    faults: dict[str, list[str]] = {}
    for job in jobs:
        if is_control(job) and (fault := _fault(job)):
            said = f"the control {job.outcome.protocol} is none, since it {fault}"
            faults.setdefault(said, []).append(job.number)
    return [f"{fault} (job {', '.join(numbers)})" for fault, numbers in faults.items()]


def is_trained(job: JobData) -> bool:
    """Whether the last network of a job was trained after it was cut."""
    return job.outcome.rows[-1].stage not in _UNTRAINED


def _concerning(
    jobs: Sequence[JobData], asked: JobData, methods: Iterable[str]
) -> Iterator[tuple[str, str | None, list[JobData]]]:
    """Protocol, the method whose cut network it is if it is one of a method's, and its jobs."""
    near = [job for job in jobs if _parts(job) <= _parts(asked)]
    for protocol in (NEVER_CUT, "half"):
        yield protocol, None, [job for job in near if job.outcome.protocol == protocol]
    for method in methods:
        for protocol in ("scratch_e", "scratch_b"):
            own = [job for job in near if job.method == f"{method} {protocol}" and _cut(job) == _cut(asked)]
            yield protocol, method, own


def _fault(job: JobData) -> str:
    """Why a finished control is not what it is called; empty if it is."""
    last = job.outcome.rows[-1] if job.outcome.rows else None
    if last is None:
        return ""
    is_cut = last.pruner is not None
    if job.outcome.protocol == NEVER_CUT:
        return "was cut" if is_cut else ""
    if not is_cut:
        return "was not cut"
    return "" if is_trained(job) else "was not trained"


def _is_trained_like(job: JobData, methods: BySeed) -> bool:
    """Whether the dense control ends in a network of the same stage as a method does; other controls may not."""
    stages = {one.outcome.rows[-1].stage for one in methods.values()}
    return job.outcome.protocol != NEVER_CUT or not job.outcome.rows or job.outcome.rows[-1].stage in stages


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
