"""Sweeps on a SLURM that is really started here; skipped, with the reason, where none can be."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from omegaconf import OmegaConf

from segprune import stop
from segprune.errors import ConfigError
from segprune.status import read as read_status
from segprune.status import write as write_status
from segprune.sweep.board import Board
from segprune.sweep.pool import OUTPUT, Task
from segprune.sweep.slurm import SlurmLauncher, refuse_few_gpus, refuse_sqlite
from segprune.sweep.slurm_lost import close_lost
from segprune.sweep.slurm_queue import Slurm, SlurmError
from tests import mini_app
from tests.mini_app import run, start, status, wait_for
from tests.sweep import slurm_here
from tests.sweep.test_slurm_queue import SETTINGS

SLURM = [
    *("hydra/launcher=slurm", "hydra.launcher.cpus=1", "hydra.launcher.poll_s=0.5"),
    "hydra.launcher.makers_first=false",  # the little app has no stages
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with slurm_here.running(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture
def app(tmp_path: Path, slurm: None) -> Path:
    mini_app.make(tmp_path)
    return tmp_path


def array() -> str:
    """The id of the sweep's array."""
    found = subprocess.run(
        ["squeue", "--noheader", "--format=%F"], capture_output=True, text=True, check=True
    )
    (one,) = {*found.stdout.split()}
    return one


def waits_or_runs() -> bool:
    found = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True)
    return bool(found.stdout.strip())


def running(app: Path, number: int, *, not_as: int | None = None) -> int:
    """The process of a job, once it runs; one with another id than an earlier one."""
    wait_for(lambda: status(app, number).get("status") == "running" and status(app, number)["pid"] != not_as)
    pid: int = status(app, number)["pid"]
    return pid


def test_every_job_ends_by_itself_and_its_status_says_how(app: Path) -> None:
    code, out, err = run(app, "act=gpus,failed,crash,kill", *SLURM, "hydra.launcher.gpus=1")
    assert code == 0, out + err  # how it went is for the caller to tell, from these
    ends = [(status(app, number)["status"], status(app, number).get("error")) for number in range(4)]
    name = re.search(r"SLURM job (\d+) has 4 of the jobs, below", out)
    assert name is not None, out
    assert ends == [
        ("done", None),
        ("failed", "no memory"),
        ("failed", f"its SLURM job {name[1]}_2 ended as FAILED, exit code 1:0: ValueError: a bug"),
        ("failed", f"its SLURM job {name[1]}_3 ended as FAILED, exit code 137:0: no output"),
    ]
    assert status(app, 0)["gpus"] in ("0", "1")
    assert "#0 act=gpus: started" in out
    assert out.count("(0 left)") == 1
    assert not waits_or_runs()


def test_jobs_go_on_after_a_time_limit_and_preemption_and_none_is_left_of_a_stopped_sweep(app: Path) -> None:
    parent = start(app, "act=polite,busy,polite", *SLURM, "hydra.launcher.requeue=1")
    limited, preempted, other = (running(app, number) for number in range(3))
    whole = array()
    tell = ["scancel", "--signal=TERM", f"{whole}_0"]  # as SLURM does before the limit
    subprocess.run(tell, check=True)
    subprocess.run(["scontrol", "requeue", f"{whole}_1"], check=True)  # as preemption does
    running(app, 0, not_as=limited)
    running(app, 1, not_as=preempted)
    subprocess.run(tell, check=True)  # it may go on once
    subprocess.run(["scancel", f"{whole}_1"], check=True)
    wait_for(lambda: all(status(app, number).get("status") == "failed" for number in (0, 1)))
    assert (
        f"{whole}_0 ended as FAILED, exit code 143:0: it was stopped before its end. Give it more time"
        in str(status(app, 0)["error"])
    )
    assert re.fullmatch(
        rf"its SLURM job {whole}_1 ended as CANCELLED(, exit code \S+)?: it was cancelled; "
        "the same command continues from here",
        str(status(app, 1)["error"]),
    )
    parent.send_signal(signal.SIGTERM)
    out, err = parent.communicate(timeout=mini_app.DEADLINE_SECONDS)
    assert parent.returncode == 143, out + err
    assert "#0 act=polite: waits in the queue again" in out
    assert f"cancelling SLURM job {whole}" in out
    assert (status(app, 2)["status"], status(app, 2)["error"]) == ("killed", "stopped before its end")
    assert status(app, 2)["pid"] == other
    assert not waits_or_runs()


def test_jobs_go_on_when_the_command_that_started_them_is_killed_and_how_they_ended_is_found_later(
    app: Path,
) -> None:
    parent = start(app, "act=polite,busy", *SLURM, "hydra.launcher.requeue=0")
    pids = [running(app, number) for number in range(2)]
    whole = array()
    parent.kill()
    parent.communicate(timeout=mini_app.DEADLINE_SECONDS)
    assert parent.returncode == -signal.SIGKILL
    assert all(map(psutil.pid_exists, pids))
    folders = [app / "sweep" / str(number) for number in range(2)]
    assert close_lost(folders) == []
    subprocess.run(["scancel", "--signal=TERM", f"{whole}_0"], check=True)
    subprocess.run(["scancel", "--signal=KILL", f"{whole}_1"], check=True)
    wait_for(lambda: not waits_or_runs())
    assert (status(app, 0)["status"], status(app, 0)["error"]) == ("killed", "stopped before its end")
    assert status(app, 1)["status"] == "running"  # it had no time to say a word
    assert close_lost(folders) == folders[1:]
    assert status(app, 1)["status"] == "killed"
    assert str(status(app, 1)["error"]).startswith(f"its SLURM job {whole}_1 ended as ")


def test_a_job_that_is_cancelled_before_it_starts_has_no_seconds(app: Path) -> None:
    parent = start(app, "act=polite,done", *SLURM, "hydra.launcher.jobs=1", "hydra.launcher.requeue=0")
    running(app, 0)
    whole = array()
    subprocess.run(["scancel", f"{whole}_1"], check=True)
    wait_for(lambda: status(app, 1)["status"] == "failed")
    subprocess.run(["scancel", f"{whole}_0"], check=True)
    out, err = parent.communicate(timeout=mini_app.DEADLINE_SECONDS)
    assert f"#1 act=done: FAILED (1 left), its SLURM job {whole}_1 ended as CANCELLED" in out, out + err
    assert "seconds" not in status(app, 1)
    assert status(app, 0)["seconds"] > 0


def test_a_sweep_that_nobody_waits_for_is_told_of_by_its_last_job(app: Path) -> None:
    code, out, err = run(app, "act=done,crash", *SLURM, "hydra.launcher.wait=false")
    assert code == 0, out + err
    name = re.search(r"SLURM job (\d+) has 2 of the jobs", out)
    assert name is not None, out
    assert re.search(rf"SLURM job \d+ writes the table.* scancel {name[1]} \d+$", out, re.MULTILINE)
    assert "cancelling" not in out
    wait_for(lambda: not waits_or_runs())
    said = (app / "sweep" / "slurm" / "report.log").read_text()
    assert "#0 act=done: done" in said
    failed = re.search(
        rf"#1 act=crash: FAILED after (\d+) s \(0 left\), its SLURM job {name[1]}_1 ended as FAILED", said
    )
    assert failed is not None, said
    assert int(failed[1]) == status(app, 1)["seconds"] > 0
    assert [status(app, number)["status"] for number in (0, 1)] == ["done", "failed"]


@pytest.mark.parametrize(("key", "value"), [("gpus", -1), ("cpus", 0), ("time", "tomorrow"), ("mem", "much")])
def test_a_wrong_setting_is_refused(slurm: None, key: str, value: object) -> None:
    conf = OmegaConf.load(mini_app.ROOT / "conf" / "hydra" / "launcher" / "slurm.yaml")
    settings: dict[str, Any] = {**OmegaConf.to_container(conf), key: value}  # type: ignore[dict-item]
    del settings["_target_"]
    unused: Any = None
    with pytest.raises(ConfigError, match=rf"hydra\.launcher\.{key} is '?{value}'?: "):
        SlurmLauncher(**settings).setup(hydra_context=unused, task_function=unused, config=unused)


def test_a_job_with_fewer_gpus_than_it_trains_on_is_refused() -> None:
    config = OmegaConf.create({"gpus": 4, "device": "auto"})
    with pytest.raises(
        ConfigError, match=r"gpus is 4, but hydra\.launcher\.gpus is 1.*hydra\.launcher\.gpus=4\.$"
    ):
        refuse_few_gpus(config, 1, "SLURM gives a job")
    refuse_few_gpus(config, 4, "")
    refuse_few_gpus(OmegaConf.create({"gpus": 2, "device": "cpu"}), 0, "")


def test_a_file_of_sqlite_is_refused_and_a_server_is_not(tmp_path: Path) -> None:
    node = {
        "_target_": "segprune.tracking.mlflow_tracker.MlflowTracking",
        **{"uri": None, "root": str(tmp_path), "experiment": "x", "flush_seconds": 5},
    }
    config = OmegaConf.create({"tracking": node, "extensions": []})
    with pytest.raises(ConfigError, match=r"one file of SQLite, which .*mlflow\.db is: start a server"):
        refuse_sqlite(config)
    config.tracking.uri = "http://127.0.0.1:5000"
    refuse_sqlite(config)


def test_jobs_that_sbatch_refuses_have_failed_with_its_sentence(app: Path) -> None:
    code, out, err = run(app, "act=done,failed", *SLURM, "hydra.launcher.partition=nope")
    assert code != 0, out + err
    for number in (0, 1):
        assert status(app, number)["status"] == "failed"
        assert re.search(r"^sbatch .* fails: .*invalid partition", status(app, number)["error"])
    assert re.search(r"#1 act=failed: FAILED.*\(0 left\), sbatch", out), out


def test_jobs_that_never_came_into_the_queue_have_failed_and_those_before_them_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, tasks = pretended(
        tmp_path,
        monkeypatch,
        {"sbatch": "[[ $* != *--dependency* ]] || { echo too many jobs >&2; exit 1; }; echo 7"},
    )
    launcher._by = replace(launcher._by, makers_first=True)
    monkeypatch.setattr("segprune.sweep.slurm._makers", lambda _: {1: 0})
    with pytest.raises(SlurmError, match="too many jobs"):
        launcher._run(tasks)
    found = [read_status(task.folder) for task in tasks.values()]
    assert [one["status"] for one in found] == ["killed", "failed"]
    assert found[1]["error"].startswith("sbatch ")
    assert found[1]["error"].endswith(" fails: too many jobs.")


@pytest.mark.parametrize("said", ["running", "killed"])  # it had no time for a word; or ended in order
@pytest.mark.parametrize(
    ("state", "wrong"),
    [
        ("CANCELLED", "it was cancelled; "),
        ("TIMEOUT", "its time was over. Give it more time (hydra.launcher.time) or let it go on more often"),
        ("PREEMPTED", "another job took its place, and SLURM did not put it into the queue again; "),
        ("NODE_FAIL", "its node failed; "),
        ("OUT_OF_MEMORY", "its memory was not enough. Give it more (hydra.launcher.mem); "),
    ],
)
def test_what_helps_is_said_by_how_a_job_ended(
    state: str, wrong: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = {"scontrol": f"echo JobId=7 JobState={state} ExitCode=0:15"}
    launcher, tasks = pretended(tmp_path, monkeypatch, says)
    task = tasks[0]
    task.folder.mkdir(parents=True)
    (task.folder / OUTPUT).write_text("epoch 3\n")
    write_status(task.folder, {"status": said})
    launcher._over(task, "7_0", was_stopped=False)
    found = read_status(task.folder)
    assert found["status"] == "failed"
    assert found["error"].startswith(f"its SLURM job 7_0 ended as {state}, exit code 0:15: {wrong}")
    assert found["error"].endswith("; the same command continues from here")
    assert ("hydra.launcher.time" in found["error"]) == (state == "TIMEOUT")


@pytest.mark.parametrize("silent", ["scancel", "squeue"])
def test_a_sweep_that_is_stopped_while_slurm_does_not_answer_is_closed_and_says_what_to_type(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    says = {silent: "echo Unable to contact slurm controller >&2; exit 1"}
    launcher, tasks = pretended(tmp_path, monkeypatch, says)
    monkeypatch.setattr(stop, "if_asked", _ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        launcher._run(tasks)
    assert [read_status(task.folder)["status"] for task in tasks.values()] == ["killed", "killed"]
    assert "Unable to contact slurm controller. Jobs may still wait or run" in caplog.text
    assert "to stop them once SLURM answers: scancel 7" in caplog.text


def pretended(
    place: Path, monkeypatch: pytest.MonkeyPatch, says: dict[str, str]
) -> tuple[SlurmLauncher, dict[int, Task]]:
    """A launcher with two jobs, and commands of SLURM that are these scripts, or else say 7."""
    for name in ("sbatch", "squeue", "scontrol", "scancel"):
        (place / name).write_text(f"#!/bin/bash\n{says.get(name, 'echo 7')}\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    launcher, sweep = SlurmLauncher(), place / "sweep"
    launcher._config = OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}})
    launcher._by = Slurm(**{**SETTINGS, "makers_first": False, "poll_s": 0.1})
    launcher._left, launcher._board = 2, Board()
    tasks = {
        number: Task(label="", asked={}, command=["true"], environment={}, folder=sweep / str(number))
        for number in range(2)
    }
    return launcher, tasks


def _ctrl_c() -> None:
    raise KeyboardInterrupt
