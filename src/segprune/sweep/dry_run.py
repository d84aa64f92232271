"""``hydra/launcher=plan``: what a sweep would do and how long that takes, without doing it."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig

from segprune import stop
from segprune.budget.contract import MeasuredBudget
from segprune.config.compose import Settings
from segprune.dataset.contract import SegData
from segprune.errors import ConfigError, SegpruneError
from segprune.pruner.contract import TrainedPruner
from segprune.result.table import aligned
from segprune.run.hardware import hardware_of
from segprune.run.start import context_of, refuse, start_of_trail
from segprune.stage.contract import Context
from segprune.stage.prune import Prune
from segprune.store.store import Entry, Store
from segprune.sweep.estimate import (
    NOTHING,
    Estimate,
    Gap,
    Kind,
    Past,
    duration,
    pace,
    past_jobs,
    seconds,
    stored_bytes,
)
from segprune.sweep.grid import GridJob, checked_jobs, is_known, labels
from segprune.sweep.work import Work, by_steps, schedules
from segprune.tracking.silent import SilentRun
from segprune.training.step import Hardware

REUSED, FAILS = "all reused", "would fail: "
LEGEND = (
    "in the store: up to the first stage that must be computed; later stages and eval were not looked up.\n"
    "time: median of earlier jobs of the same dataset, model, sizes and epochs that began at the same stage; at "
    "most: from jobs that computed more. In all: from the quickest to the slowest.\n"
    "disk: what stays in the store, by the results of such jobs. -: next to none, without eval."
)


@dataclass(frozen=True, kw_only=True)
class State:
    """What the store has of a job.

    Attributes:
        text: In words.
        gap: From which stage on it must compute results; None if it computes none.
        maker: The job before it that computes the first of them; None if none does.
        work: What it has to compute; None if it cannot start.
    """

    text: str
    gap: Gap | None
    maker: int | None = None
    work: Work | None = None


def plan(config: DictConfig) -> str:
    """The jobs of a sweep as a table: what the store has of each, and how long it may take.

    Args:
        config: The configuration of the whole sweep, with Hydra's node.

    Raises:
        SegpruneError: A job cannot run; says which one.
    """
    if not is_known(config):
        raise ConfigError(
            f"hydra.sweeper is {config.hydra.sweeper._target_}, which chooses its jobs while they run, so there is "
            "nothing to plan. Leave out hydra/launcher=plan, or take hydra/sweeper=basic."
        )
    jobs = list(checked_jobs(config))
    states = list(_states(jobs))
    past = past_jobs(Path(str(config.paths.outputs)) / "sweeps")
    likes = [_likes(past, job) for job in jobs]
    gaps = [state.gap for state in states]
    known: list[Estimate | None] = [
        seconds(gap, like) if gap else NOTHING for gap, like in zip(gaps, likes, strict=True)
    ]
    times, steps = by_steps([state.work for state in states], known)
    sizes = [stored_bytes(gap, like) if gap else NOTHING for gap, like in zip(gaps, likes, strict=True)]
    named = zip(labels([job.overrides for job in jobs]), states, times, sizes, strict=True)
    lines = [
        (f"#{number}", name, state.text, _spelled(time, duration), _spelled(size, _bytes))
        for number, (name, state, time, size) in enumerate(named)
    ]
    works = {number: state.work for number, state in enumerate(states) if state.work}
    free = shutil.disk_usage(_existing(jobs[0].run.settings.store.root)).free
    end = (
        f"In all: {_total(times, duration)}, one job after another{_hours(times, works)}; {_total(sizes, _bytes)} "
        f"of disk, where {_bytes(free)} are free. Nothing was run{' but these steps' if steps else ''}."
    )
    titles = ("job", "overrides", "in the store", "time", "disk")
    table = aligned(titles, lines, text_columns=len(titles))
    return "\n".join(part for part in (table, LEGEND, schedules(works), *steps, end) if part)


def makers(config: DictConfig) -> dict[int, int]:
    """Number of a job -> that of the one before it that makes the first result which it still needs.

    Args:
        config: The configuration of the whole sweep, with Hydra's node.

    Raises:
        SegpruneError: A job cannot run; says which one.
    """
    states = enumerate(_states(list(checked_jobs(config))))
    return {number: state.maker for number, state in states if state.maker is not None}


class _NotMadeError(Exception):
    """A stage asked for something that is not in the store."""


class _Look(Store):
    """A store that gives what it has and computes nothing."""

    def get(self, stage: str, key: str, make: Callable[[Path], None]) -> Entry:
        """An existing entry; a missing one ends the look."""
        del make
        folder = self.root / stage / self.choice(stage, key)
        if not self.reuse or not folder.exists():
            raise _NotMadeError(f"{stage}/{key}")
        return Entry(folder, was_reused=True)


class _Machines:
    """The hardware of jobs, told once for all that ask for the same."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int | None], Hardware] = {}

    def __call__(self, settings: Settings) -> Hardware:
        asked = (settings.device, settings.threads)
        if asked not in self._found:
            self._found[asked] = hardware_of(settings)
        return self._found[asked]


def _states(jobs: Iterable[GridJob]) -> Iterator[State]:
    """What the store has of each job, found by running its stages up to the first that would make something."""
    data: dict[str, SegData] = {}
    makers: dict[str, int] = {}
    refused: dict[str, SegpruneError | None] = {}
    hardware = _Machines()
    for number, job in enumerate(jobs):
        stop.if_asked()
        settings = job.run.settings
        place = json.dumps(settings.dataset, sort_keys=True, default=str)
        if place not in data:
            data[place] = job.run.load_data()
        store = _Look(root=settings.store.root, reuse=settings.store.reuse, accept=settings.store.accept)
        found: list[str] = []
        try:
            ctx = context_of(job.run, data[place], hardware(settings), store, SilentRun())
        except SegpruneError as error:
            yield State(text=FAILS + str(error).partition("\n")[0], gap=None)
            continue
        work = partial(Work, run=job.run, ctx=ctx)
        try:
            for word in _looked_at(job, ctx, refused):
                found.append(f"{word} reused")
        except _NotMadeError as missing:
            entry = str(missing)
            maker = makers.setdefault(entry, number) if settings.store.reuse else number
            word, is_shared = entry.partition("/")[0], maker != number
            last = f"{word} shared with #{maker}" if is_shared else f"{word} new"
            yield State(
                text=", ".join([*found, last]),
                gap=Gap(stage=word, is_shared=is_shared),
                maker=maker if is_shared else None,
                work=work(reused=len(found), gap=word),
            )
        except SegpruneError as error:
            yield State(text=FAILS + str(error).partition("\n")[0], gap=None)
        else:
            yield State(text=REUSED, gap=None, work=work(reused=len(found), gap=None))


def _looked_at(job: GridJob, ctx: Context, refused: dict[str, SegpruneError | None]) -> Iterator[str]:
    """The words of the stages that the store has, one after the other.

    Args:
        job: The job.
        ctx: Its context, whose store computes nothing.
        refused: What jobs that can start alike were refused for; this one is added.

    Raises:
        _NotMadeError: The next one is not there.
        SegpruneError: The job could not even start.
    """
    run = job.run
    trail = start_of_trail(run.settings, ctx, [name for stage in run.stages for name in stage.networks])
    kind = _start_of(job)
    if kind not in refused:
        try:
            refuse(run.stages, ctx, trail)
            refused[kind] = None
        except SegpruneError as error:
            refused[kind] = error
    if told := refused[kind]:
        raise told
    for stage in run.stages:
        if not stage.only_measures:  # that depends on the launcher, which gives out threads
            trail = stage(ctx, trail)
            yield stage.word


def _start_of(job: GridJob) -> str:
    """What decides whether a job can start: not its seed, and of a criterion without a training only its scope.

    Following the channels of a network and its trial cut take a second, and a sweep repeats few of them.
    """
    settings = job.run.settings.model_dump(mode="json")
    del settings["seed"]
    settings["dataset"].pop("seed", None)
    for stage in job.run.stages:
        if isinstance(stage, Prune) and not isinstance(stage.budget, MeasuredBudget):
            is_plain = not isinstance(stage.pruner, TrainedPruner)
            kind = stage.pruner.scope if is_plain else settings["pruner"]
            settings["pruner"] = settings["stage"][stage.word]["pruner"] = kind
    return json.dumps(settings, sort_keys=True, default=str)


def _likes(past: Mapping[Kind, Sequence[Past]], job: GridJob) -> Sequence[Past]:
    """Finished jobs that tell how long a job takes, as far as is known."""
    of_kind = past.get((job.run.job.choices["dataset"], job.run.job.choices["model"]), ())
    return [other for other in of_kind if other.pace in (None, pace(job.run.values))]


def _hours(times: Sequence[Estimate | None], works: Mapping[int, Work]) -> str:
    """The total as hours of a GPU or of cores; none where it is not known, or next to nothing."""
    total = sum((time.middle for time in times if time), 0.0)
    if None in times or not total or not works:
        return ""
    device = next(iter(works.values())).ctx.hardware.device
    count, unit = (1, "GPU-hours") if device.type == "cuda" else (torch.get_num_threads(), "core-hours")
    return f" ({total * count / 3600:.2g} {unit})"


def _total(estimates: Sequence[Estimate | None], spelled: Callable[[float], str]) -> str:
    """The sum, with its range where the jobs it is judged by differ."""
    if None in estimates:
        return "unknown time" if spelled is duration else "unknown use"
    total = sum((estimate for estimate in estimates if estimate is not None), NOTHING)
    if not total.high:
        return "next to nothing"
    low, high = spelled(total.low), spelled(total.high)
    spread = "" if low == high or total.is_bound else f" ({low} to {high})"
    return _spelled(total, spelled) + spread


def _spelled(estimate: Estimate | None, spelled: Callable[[float], str]) -> str:
    if estimate is None:
        return "unknown"
    if not estimate.high:
        return "-"
    if estimate.is_bound:
        return f"at most {spelled(estimate.high)}"
    return f"about {spelled(estimate.middle)}{' by steps' if estimate.is_by_steps else ''}"


def _bytes(value: float) -> str:
    return f"{value / 1e6:.1f} MB" if value < 1e9 else f"{value / 1e9:.1f} GB"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())
