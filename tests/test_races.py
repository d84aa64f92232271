"""Processes that want the same result at the same moment, and makers of it that are killed.

``python -m tests.test_races FOLDER`` runs the races of a store: it imports everything once and forks the runners.
"""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from segprune.store import __main__ as storage
from segprune.store.store import Store, damage
from tests.extensions import with_extensions, witness
from tests.test_cli import ROOT, TINY
from tests.warm import Warm

STAGE, KEY = "train", "0123456789abcdef"
RACES, RUNNERS, PARTS = 50, 4, 5
MADE, REUSED = 10, 11
Jobs = dict[Path, dict[str, Any]]
"""The status of every job, by its folder."""


@pytest.mark.slow
def test_a_result_that_all_want_is_made_once_also_when_its_maker_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.test_races", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    races = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(races) == RACES
    for race in races:
        makers, ends = race["makers"], race["ends"]
        assert len(makers) == len(set(makers)), f"two made it at once: {race}"
        assert race["parts"] == [makers[-1]] * PARTS
        assert race["damage"] == ""
        survivors = [end for end in ends if end != -signal.SIGKILL]
        if len(survivors) == RUNNERS:
            assert len(makers) == 1
            assert sorted(ends) == [MADE, REUSED, REUSED, REUSED]
        else:  # killed before, between or after the last steps of its work
            assert len(makers) <= 2
            assert sorted(survivors)[1:] == [REUSED, REUSED]
            assert sorted(survivors)[0] == (MADE if len(makers) == 2 else REUSED)
    assert sum(-signal.SIGKILL in race["ends"] for race in races) > RACES // 8
    assert any(len(race["makers"]) == 2 for race in races)  # else no kill has hit a maker at work


def runner(folder: Path, start: Any) -> int:
    """A process that asks for the result when all are there."""
    if (pid := os.fork()) > 0:
        return pid
    code = 1
    try:
        notes = os.open(folder / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def make(unfinished: Path) -> None:
            for part in range(PARTS):
                os.write(notes, f"{os.getpid()}\n".encode())  # appended in one piece, so in order of time
                (unfinished / f"part-{part}").write_text(str(os.getpid()))
                time.sleep(0.005)
            os.write(notes, f"{os.getpid()}\n".encode())

        start.wait()
        entry = Store(root=folder / "store", reuse=True).get(STAGE, KEY, make)
        code = REUSED if entry.was_reused else MADE
    finally:
        os._exit(code)


def race(folder: Path, dice: random.Random, *, is_deadly: bool) -> dict[str, Any]:
    """Let the runners go, and kill the one that makes the result at some moment, once."""
    folder.mkdir()
    start = multiprocessing.get_context("fork").Barrier(RUNNERS)
    runners = [runner(folder, start) for _ in range(RUNNERS)]
    if is_deadly:
        notes = folder / "notes"
        while not notes.exists() or not notes.read_text().count("\n"):
            time.sleep(0.0005)
        time.sleep(dice.uniform(0, 0.06))
        os.kill(int(notes.read_text().split("\n")[0]), signal.SIGKILL)
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in runners]
    entry = folder / "store" / STAGE / KEY
    return {
        "makers": [pid for pid, _ in groupby((folder / "notes").read_text().split())],
        "parts": [(entry / f"part-{part}").read_text() for part in range(PARTS)],
        "damage": damage(entry),
        "ends": ends,
    }


def main(folder: Path) -> None:
    dice = random.Random(0)
    for number in range(RACES):
        found = race(folder / str(number), dice, is_deadly=bool(number % 2))
        sys.stdout.write(json.dumps(found) + "\n")


def started(outputs: Path, *arguments: str) -> Warm:
    """A sweep of two cells, with every metric written down."""
    environment = {
        **os.environ,
        "SEGPRUNE_OUTPUTS": str(outputs),
        "OMP_NUM_THREADS": "1",
        **with_extensions(),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    tracking = ["tracking._target_=witness.Witness", "extensions=[witness]", "tracking.flush_seconds=0"]
    command = [str(ROOT / "run.py"), "-m", "pruner=random,l1", *arguments, *tracking, *TINY]
    return Warm(command, environment)


@pytest.mark.slow
def test_two_sweeps_started_at_once_train_once_and_lose_nothing(tmp_path: Path) -> None:
    """On an empty store and an empty database."""
    sweeps = [started(tmp_path) for _ in range(2)]
    said = [sweep.communicate(timeout=400) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], said
    assert not any("fails" in out + err for out, err in said)  # the database, not even for a moment
    found = {path.parent: json.loads(path.read_text()) for path in tmp_path.glob("sweeps/*/*/*/status.json")}
    assert [job["status"] for job in found.values()] == ["done"] * 4
    assert_made_once(tmp_path, found)
    assert_tracked(tmp_path, found)


def assert_made_once(outputs: Path, found: Jobs) -> None:
    logs = [(folder / "run.log").read_text() for folder in found]
    trained = [log.split("[train]")[1].split("[prune]")[0] for log in logs]
    assert sum(log.count("epoch   1/2") for log in trained) == 1
    assert sum(log.count("epoch   2/2") for log in trained) == 1
    for pruner in ("random", "l1"):
        one, other = (job["rows"] for job in found.values() if job["asked"]["pruner"] == pruner)
        assert one == other
        assert [row["stage"] for row in one] == ["dense", "pruned_raw", "pruned", "finetuned"]
    named = {name for job in found.values() for name in job["entries"]}
    folders = {f"{path.parent.name}/{path.name}" for path in outputs.glob("store/*/*") if path.is_dir()}
    assert folders == named  # and nothing unfinished, damaged or left over
    assert storage.main(["--store", str(outputs / "store"), "verify"]) == 0
    locks = list(outputs.rglob("*.lock"))
    assert len(locks) >= len(named)
    for lock in locks:
        FileLock(lock).acquire(timeout=0).lock.release()


def assert_tracked(outputs: Path, found: Jobs) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    (experiment,) = [each for each in client.search_experiments() if each.name == "segprune-streets"]
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 6
    sweeps = {run.info.run_id for run in runs if run.data.tags["kind"] == "sweep"}
    jobs = [run for run in runs if run.data.tags["kind"] == "job"]
    parents = Counter(run.data.tags["mlflow.parentRunId"] for run in jobs)
    assert parents == dict.fromkeys(sweeps, 2)
    made = Counter(run.data.tags["stage.train"] for run in jobs)
    assert made == {"computed": 1, "reused": 3}
    for folder in {*found, *(folder.parent for folder in found)}:
        run_id = json.loads((folder / "status.json").read_text())["run_id"]
        sent = witness.sent(folder)
        assert witness.stored(outputs / "mlflow.db", run_id) == sent
        expected = {"train/loss", "eval/miou"} if folder in found else {"sweep/jobs", "sweep/failed"}
        assert expected <= {name for name, _, _ in sent}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
