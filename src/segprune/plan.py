"""``hydra/launcher=plan``: what a sweep would do, without doing any of it."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from segprune import status
from segprune.assemble import hardware_of
from segprune.dataset.contract import SegData
from segprune.errors import ConfigError, SegpruneError
from segprune.grid import GridCell, cells, is_known, labels
from segprune.start import context_of, refuse_unfit, refuse_unreachable, start_of_trail
from segprune.store import Entry, Store
from segprune.tracking.silent import SilentRun

Kind = tuple[str, str]
"""Dataset and model: what a job's time depends on most."""
REUSED, FAILS = "all reused", "would fail: "
LEGEND = (
    "in the store: up to the first stage that has to be made; those after it were not looked for, nor was eval. "
    "time: median of earlier jobs of the same dataset and model that computed something; -: next to none."
)


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
            "nothing to plan. Leave out hydra/launcher=plan, or take the sweeper basic."
        )
    jobs = list(cells(config))
    states = list(_states(jobs))
    seconds = _seconds(Path(str(config.paths.outputs)) / "sweeps")
    times = [_time(state, seconds.get(_kind(job))) for job, state in zip(jobs, states, strict=True)]
    named = zip(labels([job.overrides for job in jobs]), states, times, strict=True)
    lines = [(f"#{number}", name, state, _spelled(time)) for number, (name, state, time) in enumerate(named)]
    total = None if None in times else sum(time for time in times if time is not None)
    end = f"In all: {_spelled(total)}, one job after another. Nothing was run."
    return "\n".join([*_aligned([("job", "overrides", "in the store", "time"), *lines]), LEGEND, end])


class _NotMadeError(Exception):
    """A stage asked for something that is not in the store."""


class _Look(Store):
    """A store that gives what it has and makes nothing."""

    def get(self, stage: str, key: str, make: Callable[[Path], None]) -> Entry:
        """An existing entry; a missing one ends the look."""
        del make
        folder = self.root / stage / key
        if not self.reuse or not folder.exists():
            raise _NotMadeError(f"{stage}/{key}")
        return Entry(folder, was_reused=True)


def _states(jobs: Iterable[GridCell]) -> Iterator[str]:
    """What the store has of each job, found by running its stages up to the first that would make something."""
    data: dict[str, SegData] = {}
    makers: dict[str, int] = {}
    for number, job in enumerate(jobs):
        settings = job.run.settings
        place = json.dumps(settings.dataset, sort_keys=True, default=str)
        if place not in data:
            data[place] = job.run.load_data()
        store = _Look(root=settings.store.root, reuse=settings.store.reuse)
        found: list[str] = []
        try:
            for word in _looked_at(job, data[place], store):
                found.append(f"{word} reused")
        except _NotMadeError as missing:
            entry = str(missing)
            maker = makers.setdefault(entry, number) if settings.store.reuse else number
            word = entry.partition("/")[0]
            yield ", ".join([*found, f"{word} new" if maker == number else f"{word} shared with #{maker}"])
        except SegpruneError as error:
            yield FAILS + str(error).partition("\n")[0]
        else:
            yield REUSED


def _looked_at(job: GridCell, data: SegData, store: Store) -> Iterator[str]:
    """The words of the stages that the store has, one after the other.

    Raises:
        _NotMadeError: The next one is not there.
        SegpruneError: The job could not even start.
    """
    run = job.run
    ctx = context_of(run, data, hardware_of(run.settings), store, SilentRun())
    refuse_unfit(run.stages, ctx)
    trail = start_of_trail(run.settings, ctx)
    refuse_unreachable(run.stages, ctx, trail)
    for stage in run.stages:
        if stage.word != "eval":  # what it measures depends on the launcher, which gives out threads
            trail = stage(ctx, trail)
            yield stage.word


def _kind(job: GridCell) -> Kind:
    return job.run.job.choices["dataset"], job.run.job.choices["model"]


def _seconds(sweeps: Path) -> Mapping[Kind, Sequence[float]]:
    """How long the finished jobs of earlier sweeps took, those that found everything left out."""
    seconds: dict[Kind, list[float]] = defaultdict(list)
    for path in sweeps.rglob(status.STATUS):
        job = status.read(path.parent)
        if job["status"] == "done" and job.get("was_reused") is False:
            seconds[job["asked"]["dataset"], job["asked"]["model"]].append(job["seconds"])
    return seconds


def _time(state: str, earlier: Sequence[float] | None) -> float | None:
    """A guess in seconds; None: unknown."""
    if state == REUSED or state.startswith(FAILS):
        return 0.0
    return statistics.median(earlier) if earlier else None


def _spelled(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if not seconds:
        return "-"
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
