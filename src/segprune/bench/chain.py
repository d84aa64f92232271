"""Whole commands of this program against the bare script, measured from outside, and by stage."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from segprune.bench.commands import Command, Ran, by_turns
from segprune.bench.contract import Bench, Figure
from segprune.bench.job import Job, grid, single
from segprune.bench.spent import Spent, compared, figure, times

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
    folder, is_grid = bench.place(name.replace(" ", "_")), len(job.methods) * len(job.ratios) > 1
    job.data(bench.cache)  # both find it drawn
    _first_of_a_clone(bench, job)
    found: dict[str, list[Timed]] = {"ours": [], "bare": []}
    for number in range(rounds):
        place = bench.place(f"{folder.name}/{number}")
        commands = {
            "ours": _ours(job, place, bench, is_grid=is_grid),
            "bare": _bare(job, place, bench.cache),
        }
        who_is_first = list(commands)[:: -1 if number % 2 else 1]
        ran = by_turns({who: commands[who] for who in who_is_first})
        found["ours"].append(_timed(ran["ours"], _marks_of_logs(place)))
        found["bare"].append(_timed(ran["bare"], _marks_of_bare(place)))
    sizes = job.sizes()
    spent = {who: [one.spent for one in all_of] for who, all_of in found.items()}
    yield from times(f"{name}, this program", spent["ours"], sizes)
    yield from times(f"{name}, bare script", spent["bare"], sizes)
    aim = None if bench.is_quick else goal  # little work does not pay for a start
    yield from compared(f"{name}, by the bare script", spent["ours"], spent["bare"], sizes, goal=aim)
    for stage in found["bare"][0].stages:
        mine, other = ([one.stages.get(stage, 0.0) for one in found[who]] for who in ("ours", "bare"))
        yield figure(f"{name}, {stage}, this program", mine, "s", sizes)
        yield figure(f"{name}, {stage}, bare script", other, "s", sizes)


def _first_of_a_clone(bench: Bench, job: Job) -> None:
    """Make what only the first command makes: MLflow's tables, compiled Python."""
    if not (bench.outputs / "mlflow.db").exists():
        one = replace(job, fit=8, epochs=1, finetune=1, methods=job.methods[:1], ratios=job.ratios[:1])
        by_turns({"": _ours(one, bench.place("first"), bench, is_grid=False)})


def _ours(job: Job, folder: Path, bench: Bench, *, is_grid: bool) -> Command:
    place = "hydra.sweep.dir" if is_grid else "hydra.run.dir"
    overrides = [
        *job.overrides(),
        f"store.root={folder}/store",
        f"paths.cache={bench.cache}",
        f"{place}={folder}/run",
    ]
    return Command(
        arguments=["run.py", *(["-m"] if is_grid else []), *overrides],
        output=folder / "ours",
        environment={"SEGPRUNE_OUTPUTS": str(bench.outputs)},
    )


def _bare(job: Job, folder: Path, cache: Path) -> Command:
    arguments = ["-m", "segprune.bench.bare", job.text(), str(cache), str(folder / "marks.json")]
    return Command(arguments=arguments, output=folder / "bare")


def _timed(ran: Ran, began: Sequence[tuple[str, float]]) -> Timed:
    own = [(name, ran.own_s(moment)) for name, moment in began]
    return Timed(spent=ran.spent, stages=by_stage(own, 0.0, ran.spent.wall_s))


def _marks_of_logs(folder: Path) -> list[tuple[str, float]]:
    logs = sorted((folder / "run").rglob("run.log"), key=lambda path: path.stat().st_mtime)
    return [mark for log in logs for mark in marks(log.read_text(encoding="utf-8"))]


def _marks_of_bare(folder: Path) -> list[tuple[str, float]]:
    found = json.loads((folder / "marks.json").read_text(encoding="utf-8"))["began"]
    return [(name, moment) for name, moment in found]


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
