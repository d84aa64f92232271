import json
import platform
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from segprune.errors import ConfigError
from segprune.status import JobRecord, amend, asked, dead, job_folders, noted_jobs, now, read, write

ASKED = {
    "dataset": "streets",
    "model": "unet",
    "pruner": "l1",
    "budget": "channels",
    "distill": "none",
    "protocol": "standard",
    "ratio": 0.3,
    "seed": 0,
}


def is_dead(folder: Path) -> bool:
    with dead(folder) as found:
        return found


def test_a_record_tells_every_state(tmp_path: Path) -> None:
    assert read(tmp_path) == {}
    record = JobRecord(tmp_path, ASKED)
    assert (read(tmp_path)["status"], read(tmp_path)["asked"]) == ("running", ASKED)
    record.tracked("abc")
    assert (read(tmp_path)["status"], read(tmp_path)["run_id"]) == ("running", "abc")
    record.done({"name": "l1-r0.3-s0", "was_reused": False, "seconds": 7.5})
    assert (read(tmp_path)["status"], read(tmp_path)["name"]) == ("done", "l1-r0.3-s0")
    assert (read(tmp_path)["run_id"], read(tmp_path)["seconds"]) == ("abc", 7.5)
    record.failed("no memory")
    assert (read(tmp_path)["status"], read(tmp_path)["error"]) == ("failed", "no memory")
    record.killed()
    assert (read(tmp_path)["status"], read(tmp_path)["error"]) == ("killed", "stopped before its end")


def test_a_network_that_earlier_runs_cut_is_asked_for_as_it_was_cut(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, {"pruner": "taylor", "ratio": 0.3, "seed": 1})
    record.done({"cut": {"pruner": "l1", "ratio": 0.5}, "rows": []})
    assert read(tmp_path)["asked"] == {"pruner": "l1", "ratio": 0.5, "seed": 1}


def test_the_jobs_of_a_sweep_are_those_that_it_noted(tmp_path: Path) -> None:
    for name in ("10", "2", "a/b"):
        (tmp_path / name).mkdir(parents=True)
        write(tmp_path / name, {})
    assert job_folders(tmp_path) == [tmp_path / "2", tmp_path / "10", tmp_path / "a" / "b"]
    about = {"asked": ASKED, "overrides": ["pruner=l1"]}
    JobRecord(tmp_path, {}).sweeps({tmp_path / name: about for name in ("3", "2", "a/b")})
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    # also the one that has not started
    assert job_folders(moved) == [moved / "2", moved / "3", moved / "a" / "b"]
    assert noted_jobs(moved) == dict.fromkeys(("3", "2", "a/b"), about)


def test_a_sweep_may_have_noted_folders_alone_or_nothing(tmp_path: Path) -> None:
    assert noted_jobs(tmp_path) is None
    write(tmp_path, {"folders": ["0", "1"]})
    assert noted_jobs(tmp_path) == {"0": {}, "1": {}}


def test_a_run_is_shown_as_it_is_now(tmp_path: Path) -> None:
    assert now(tmp_path) == {}
    record = JobRecord(tmp_path, ASKED)
    assert now(tmp_path)["status"] == "running"
    record.failed("no memory")
    assert (now(tmp_path)["status"], now(tmp_path)["error"]) == ("failed", "no memory")
    write(tmp_path, {"status": "running", "host": platform.node()})
    assert (now(tmp_path)["status"], now(tmp_path)["error"]) == ("killed", "its process was killed")
    assert read(tmp_path)["status"] == "running"  # nothing is written
    write(tmp_path, {"status": "running", "host": "another machine"})
    assert now(tmp_path)["status"] == "running"
    write(tmp_path, {"status": "running"})  # of earlier versions
    assert (now(tmp_path)["status"], now(tmp_path)["error"]) == ("killed", "stopped before its end")


def test_a_folder_has_one_living_run(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, ASKED)
    with pytest.raises(
        ConfigError, match=rf"{tmp_path} belongs to a run that is still going on .* give another"
    ):
        JobRecord(tmp_path, ASKED)
    assert read(tmp_path)["status"] == "running"
    record.done({})
    JobRecord(tmp_path, ASKED).done({})  # the same job again, as after an interruption


def test_a_living_run_and_one_that_said_how_it_ended_are_not_dead(tmp_path: Path) -> None:
    assert not is_dead(tmp_path)  # there is none
    record = JobRecord(tmp_path, ASKED)
    assert not is_dead(tmp_path)
    record.failed("no memory")
    assert not is_dead(tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"status": "running", "host": platform.node()}, True),
        ({"status": "running", "host": "another machine"}, False),  # whose locks cannot be seen from here
        ({"status": "running"}, False),
        ({"status": "starting"}, False),
    ],
)
def test_a_run_without_a_lock_is_dead_if_it_was_on_this_machine(
    tmp_path: Path, values: dict[str, Any], expected: bool
) -> None:
    write(tmp_path, values)
    assert is_dead(tmp_path) == expected


def test_a_run_that_ends_well_while_it_is_looked_at_is_not_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, acquire = JobRecord(tmp_path, ASKED), FileLock.acquire

    def after_its_end(lock: FileLock, *args: Any, **settings: Any) -> Any:
        record.done({})
        return acquire(lock, *args, **settings)

    monkeypatch.setattr(FileLock, "acquire", after_its_end)
    assert not is_dead(tmp_path)


def test_only_one_process_finds_a_run_dead(tmp_path: Path) -> None:
    write(tmp_path, {"status": "running", "host": platform.node()})
    with dead(tmp_path) as first:
        second = subprocess.run(
            [
                *(sys.executable, "-c"),
                "import sys, pathlib; from segprune.status import dead\n"
                "with dead(pathlib.Path(sys.argv[1])) as found: print(found)",
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    assert (first, second.stdout) == (True, "False\n")


def test_a_run_names_what_it_uses_before_its_end(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, ASKED)
    record.uses(tmp_path / "store", "train/a")
    record.uses(tmp_path / "store", "prune/b")
    assert read(tmp_path)["entries"] == ["train/a", "prune/b"]
    record.failed("no memory")
    assert (read(tmp_path)["entries"], read(tmp_path)["store"]) == (
        ["train/a", "prune/b"],
        str(tmp_path / "store"),
    )


def test_an_amended_status_keeps_what_it_said(tmp_path: Path) -> None:
    write(tmp_path, {"asked": ASKED, "status": "running"})
    amend(tmp_path, status="killed", error="x")
    assert json.loads((tmp_path / "status.json").read_text()) == {
        "asked": ASKED,
        "status": "killed",
        "error": "x",
    }


def test_what_was_asked_is_named_after_the_chosen_options() -> None:
    choices = {
        name: str(ASKED[name]) for name in ("dataset", "model", "pruner", "budget", "distill", "protocol")
    } | {"train": "short"}
    assert asked(choices, ratio=0.3, seed=0) == ASKED
    assert asked(choices, ratio=None, seed=0)["ratio"] is None  # a budget that has no ratio
    assert asked(choices, ratio="a lot", seed=[1])["ratio"] == "a lot"  # the run says what is wrong with it
    assert asked(choices, ratio=0.3, seed=[1])["seed"] == "[1]"


def test_a_job_that_is_started_again_waits_for_its_own_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    before = FileLock(tmp_path / "running.lock", thread_local=False).acquire()
    threading.Timer(0.3, before.lock.release).start()
    JobRecord(tmp_path, ASKED)
    assert read(tmp_path)["status"] == "running"
