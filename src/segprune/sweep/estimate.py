"""Time and disk that a job may take, from earlier jobs of its dataset and model that began at the same stage."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any

from segprune import status

Kind = tuple[str, str]
"""Dataset and model: what time and disk depend on most."""

ROOMS = ("runs", "sweeps")
"""Folders of an output folder in which finished jobs lie."""
PACE = (
    *("dataset.size_hw", "dataset.crop_hw", "dataset.limit", "dataset.counts", "model", "train.epochs"),
    *("finetune.epochs", "between.epochs", "phase_epochs", "rounds", "device"),
)
"""Keys that decide how long a run takes on a machine, besides dataset and criterion."""
FIRST_RUN = "with the defaults it takes about 2 minutes on two CPU cores, and segprune plan tells it"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What a job has to compute.

    Attributes:
        stage: The first stage whose result is not there.
        is_shared: Whether another job computes that result before, so that only those after it are to be computed.
    """

    stage: str
    is_shared: bool

    def position(self, stages: Sequence[str]) -> int | None:
        """The index of the first result to be computed among those of a job; None if it has no such stage."""
        if self.stage not in stages:
            return None
        return stages.index(self.stage) + stages.count(self.stage) * self.is_shared


@dataclass(frozen=True, kw_only=True)
class Past:
    """A finished job.

    Attributes:
        seconds: How long it took.
        stages: Of its results, in the order in which it used them.
        sizes: Bytes of these results in the store; None for one that is not there any more.
        begin: Index of the first result that it computed; their number if it computed none; None if not known.
        pace: See ``pace``; None if not known.
    """

    seconds: float
    stages: tuple[str, ...]
    sizes: tuple[int | None, ...]
    begin: int | None
    pace: str | None = None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An expectation from earlier jobs.

    Attributes:
        low: The least of them.
        middle: Their median.
        high: The most of them.
        is_bound: Whether all of them computed more than is needed now, so that the true value is smaller.
        is_by_steps: Whether there are none, and steps were timed.
    """

    low: float
    middle: float
    high: float
    is_bound: bool = False
    is_by_steps: bool = False

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            low=self.low + other.low,
            middle=self.middle + other.middle,
            high=self.high + other.high,
            is_bound=self.is_bound or other.is_bound,
            is_by_steps=self.is_by_steps or other.is_by_steps,
        )


NOTHING = Estimate(low=0.0, middle=0.0, high=0.0)


def pace(config: Mapping[str, Any]) -> str:
    """The values of ``PACE`` in a configuration, as text: times of runs with other ones tell nothing."""

    def below(node: Any, part: str) -> Any:
        return node.get(part) if isinstance(node, Mapping) else None

    return json.dumps([reduce(below, key.split("."), config) for key in PACE], sort_keys=True, default=str)


def past_jobs(sweeps: Path) -> Mapping[Kind, Sequence[Past]]:
    """The finished jobs of earlier sweeps."""
    found: dict[Kind, list[Past]] = defaultdict(list)
    size = cache(_size)
    for path in sorted(sweeps.rglob(status.STATUS)):
        job = status.read(path.parent)
        if job.get("status") == "done" and "entries" in job:
            names = list(job["entries"])
            found[job["asked"]["dataset"], job["asked"]["model"]].append(
                Past(
                    seconds=job["seconds"],
                    stages=tuple(name.partition("/")[0] for name in names),
                    sizes=tuple(size(Path(job["store"]) / name) for name in names),
                    begin=_begin(job, names),
                    pace=_pace_of(path.parent),
                )
            )
    return found


def expectation(outputs: Path, kind: Kind, config: Mapping[str, Any]) -> str:
    """How long a run of this dataset and model may take, from the runs that finished below an output folder.

    Only those count that have the same sizes, network and epochs.
    """
    dataset, model = kind
    folders = [path.parent for room in ROOMS for path in (outputs / room).rglob(status.STATUS)]
    jobs = [(folder, job) for folder in folders if (job := status.read(folder)).get("status") == "done"]
    found = [
        (folder, float(job["seconds"]))
        for folder, job in jobs
        if not job.get("was_reused", True)
        and (job["asked"].get("dataset"), job["asked"].get("model")) == kind
    ]
    wanted = pace(config)
    took = [seconds for folder, seconds in found if _pace_of(folder) in (None, wanted)]
    if not took:
        which = "with these sizes and epochs " if found else ""
        return f"no run of {model} on {dataset} {which}has finished here yet, so its time is not known; {FIRST_RUN}"
    spread = f"{duration(min(took))} to {duration(max(took))}"
    return (
        f"expect about {duration(statistics.median(took))}: earlier runs of {model} on {dataset} "
        f"({len(took)}) took {spread}; what the store has already is not computed again"
    )


def duration(seconds: float) -> str:
    """Seconds in words, as exact as an estimate can be."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def seconds(gap: Gap, past: Sequence[Past]) -> Estimate | None:
    """From the jobs that began at the same point; if there are none, from those that computed more; else None."""
    like, more = list[float](), list[float]()
    for job in past:
        position = gap.position(job.stages)
        if position is not None and job.begin is not None and job.begin <= position:
            (like if job.begin == position else more).append(job.seconds)
    return _estimate(like) or _estimate(more, is_bound=True)


def stored_bytes(gap: Gap, past: Sequence[Past]) -> Estimate | None:
    """From the results that all jobs have in the store from that point on; None where there are none."""
    return _estimate(
        [
            float(sum(size for size in sizes if size is not None))
            for job in past
            if (position := gap.position(job.stages)) is not None
            and None not in (sizes := job.sizes[position:])
        ]
    )


def _estimate(values: Sequence[float], *, is_bound: bool = False) -> Estimate | None:
    if not values:
        return None
    return Estimate(low=min(values), middle=statistics.median(values), high=max(values), is_bound=is_bound)


def _begin(job: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """Index of the first result that a job computed; None if an earlier version recorded it, which did not say."""
    if job["was_reused"]:
        return len(names)
    made = [names.index(name) for name in job.get("computed", ()) if name in names]
    return min(made, default=None)


def _pace_of(folder: Path) -> str | None:
    """That of a finished job; None if an earlier version recorded it."""
    try:
        return pace(json.loads((folder / status.ORIGIN).read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _size(folder: Path) -> int | None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) if files else None
