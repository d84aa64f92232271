"""Whole commands of this program against the bare script, measured from outside, and by stage."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count, pairwise
from pathlib import Path

from segprune.bench.contract import Bench, Figure
from segprune.bench.job import Job, grid, single
from segprune.bench.spent import Spent, compared, figure, in_turns, of_command, times

BEFORE = "start-up and data"
_STAGE = re.compile(r"^(\S+ \S+),(\d+) INFO \S+: \[(\w+)\]$", re.MULTILINE)
"""The line of a run's log file that begins a stage."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A command that was run.

    Attributes:
        spent: From its start to its end.
        stages: Name of a part -> seconds that passed in it, over all jobs.
    """

    spent: Spent
    stages: Mapping[str, float]


def one_run(bench: Bench) -> Iterator[Figure]:
    """One chain, whole and by stage."""
    yield from _against_bare(bench, "one run", single(bench), bench.turns(3, 1), goal=1.05)


def nine_jobs(bench: Bench) -> Iterator[Figure]:
    """A grid of chains, with the report that ends it."""
    yield from _against_bare(bench, "grid", grid(bench), bench.turns(1, 1), goal=1.10)


def _against_bare(bench: Bench, name: str, job: Job, rounds: int, *, goal: float) -> Iterator[Figure]:
    folder, numbers = bench.place(name.replace(" ", "_")), count()
    cache = bench.cache
    job.data(cache)  # both find it drawn
    is_grid = len(job.methods) * len(job.ratios) > 1

    def ours() -> Timed:
        return _ours(job, folder / str(next(numbers)), bench, is_grid=is_grid)

    def bare() -> Timed:
        return _bare(job, folder / str(next(numbers)), cache)

    _first_of_a_clone(bench, job)
    found = in_turns({"ours": ours, "bare": bare}, rounds)
    sizes = job.sizes()
    spent = {who: [one.spent for one in all_of] for who, all_of in found.items()}
    yield from times(f"{name}, this program", spent["ours"], sizes)
    yield from times(f"{name}, bare script", spent["bare"], sizes)
    yield from compared(f"{name}, by the bare script", spent["ours"], spent["bare"], sizes, goal=goal)
    for stage in found["bare"][0].stages:
        mine, other = ([one.stages.get(stage, 0.0) for one in found[who]] for who in ("ours", "bare"))
        yield figure(f"{name}, {stage}, this program", mine, "s", sizes)
        yield figure(f"{name}, {stage}, bare script", other, "s", sizes)


def _first_of_a_clone(bench: Bench, job: Job) -> None:
    """Make what only the first command makes: MLflow's tables, compiled Python."""
    if not (bench.outputs / "mlflow.db").exists():
        one = replace(job, fit=8, epochs=1, finetune=1, methods=job.methods[:1], ratios=job.ratios[:1])
        _ours(one, bench.folder / "first", bench, is_grid=False)


def _ours(job: Job, folder: Path, bench: Bench, *, is_grid: bool) -> Timed:
    folder.mkdir(parents=True)
    place = "hydra.sweep.dir" if is_grid else "hydra.run.dir"
    overrides = [
        *job.overrides(),
        f"store.root={folder}/store",
        f"paths.cache={bench.cache}",
        f"{place}={folder}/run",
    ]
    command = ["run.py", *(["-m"] if is_grid else []), *overrides]
    started = time.time()
    spent = of_command(command, output=folder / "said", environment={"SEGPRUNE_OUTPUTS": str(bench.outputs)})
    logs = sorted((folder / "run").rglob("run.log"), key=lambda path: path.stat().st_mtime)
    began = [mark for log in logs for mark in marks(log.read_text(encoding="utf-8"))]
    return Timed(spent=spent, stages=by_stage(began, started, started + spent.wall_s))


def _bare(job: Job, folder: Path, cache: Path) -> Timed:
    folder.mkdir(parents=True)
    command = ["-m", "segprune.bench.bare", job.text(), str(cache), str(folder / "marks.json")]
    started = time.time()
    spent = of_command(command, output=folder / "said", environment={})
    began = json.loads((folder / "marks.json").read_text(encoding="utf-8"))["began"]
    return Timed(spent=spent, stages=by_stage(began, started, started + spent.wall_s))


def marks(log: str) -> list[tuple[str, float]]:
    """Stages and when they began, in seconds since 1970, of the log file of a run."""
    return [
        (stage, datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").timestamp() + int(milli) / 1000)
        for moment, milli, stage in _STAGE.findall(log)
    ]


def by_stage(began: Sequence[tuple[str, float]], started: float, ended: float) -> dict[str, float]:
    """Name of a part -> seconds; a part lasts until the next one begins, the last one until the end.

    Args:
        began: Parts and when they began, in that order; one name may occur several times.
        started: When the command began.
        ended: When it ended.
    """
    found: dict[str, float] = {}
    for (name, start), (_, end) in pairwise([(BEFORE, started), *began, ("", ended)]):
        found[name] = found.get(name, 0.0) + end - start
    return found
