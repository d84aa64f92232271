"""Jobs that die in every way, in processes that are really started and killed."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from omegaconf import OmegaConf

from segprune.errors import ConfigError
from segprune.status import GROUPS, dead
from segprune.sweep.launcher import ProcessLauncher, _in_short, _leave_the_gpu_open
from tests import mini_app
from tests.mini_app import run, start, status, wait_for


@pytest.fixture
def app(tmp_path: Path) -> Path:
    mini_app.make(tmp_path)
    return tmp_path


def is_gone(pid: int) -> bool:
    """Whether a process is over; one that nobody has asked about yet is."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_every_job_ends_by_itself_and_its_status_says_how(app: Path) -> None:
    code, out, err = run(app, "act=done,failed,crash,segfault,kill,abort", "hydra.launcher.jobs=3")
    assert code == 0, err  # how it went is for the caller to tell, from these
    ends = [(status(app, number)["status"], status(app, number).get("error")) for number in range(6)]
    assert ends == [
        ("done", None),
        ("failed", "no memory"),
        ("failed", "ended with exit code 1: ValueError: a bug"),
        ("failed", "killed by signal 11 (Segmentation fault)"),
        ("failed", "killed by signal 9, e.g. out of memory"),
        (
            "failed",
            "killed by signal 6 (Aborted): terminate called after throwing an instance of 'std::bad_alloc'",
        ),
    ]
    asked = dict.fromkeys(GROUPS, "a") | {"ratio": 0.5, "seed": 0}
    assert all(status(app, number)["asked"] == asked for number in range(6))
    assert "6 jobs, 3 at a time" in out
    assert "#0 act=done: started" in out
    assert " left), mIoU 12.35 %" in out
    assert f"killed by signal 9, e.g. out of memory; see {app}/sweep/4/stdout.log" in out
    assert out.count("(0 left)") == 1
    assert "Fatal Python error: Segmentation fault" in (app / "sweep" / "3" / "stdout.log").read_text()


def test_a_job_that_takes_too_long_is_stopped_also_when_it_does_not_listen(app: Path) -> None:
    limits = ["hydra.launcher.timeout_s=1.5", "hydra.launcher.grace_s=1"]
    code, out, err = run(app, "act=polite,busy,deaf", *limits, "hydra.launcher.jobs=3")
    assert code == 0, err
    for number in range(3):
        assert status(app, number)["status"] == "failed"
        assert status(app, number)["error"] == "no end after 1.5 s (hydra.launcher.timeout_s)"
    assert out.count("no end after 1.5 s") == 3


@pytest.mark.parametrize(("key", "value"), [("jobs", 0), ("timeout_s", 0), ("grace_s", -1), ("gpus", 1)])
def test_a_wrong_setting_is_refused(key: str, value: int) -> None:
    settings = {"jobs": 1, "gpus": [], "timeout_s": None, "grace_s": 1, "fork": True, key: value}
    unused: Any = None
    with pytest.raises(ConfigError, match=rf"hydra\.launcher\.{key} is {value}: input should be"):
        ProcessLauncher(**settings).setup(hydra_context=unused, task_function=unused, config=unused)


@pytest.mark.parametrize(
    ("device", "jobs", "deals"),
    [
        ("auto", [["seed=1"]], True),
        ("cuda", [["seed=1"], ["seed=2"]], True),
        ("cuda:1", [["seed=1"]], False),
        ("cpu", [["seed=1"]], False),
        ("auto", [["device=cuda:0"], ["device=cuda:1"]], False),
        ("auto", [["gpus=1"], ["gpus=2"]], False),
    ],
)
def test_gpus_are_dealt_to_jobs_that_do_not_name_theirs(
    device: str, jobs: list[list[str]], deals: bool
) -> None:
    assert _leave_the_gpu_open(OmegaConf.create({"device": device}), jobs) is deals


def test_a_refused_setting_starts_no_job_and_is_one_paragraph(app: Path) -> None:
    code, _, err = run(app, "act=done", "hydra.launcher.jobs=0")
    assert code == 1
    assert err == "\nsegprune: hydra.launcher.jobs is 0: input should be greater than or equal to 1.\n"
    assert status(app, 0) == {}


def hanging(app: Path) -> tuple["mini_app.subprocess.Popen[str]", list[int]]:
    """A sweep whose first three jobs hang, and their process ids."""
    parent = start(app, "act=polite,busy,deaf,done", "hydra.launcher.jobs=3", "hydra.launcher.grace_s=1")
    wait_for(lambda: all(status(app, number).get("status") == "running" for number in range(3)))
    wait_for((app / "sweep" / "2" / "deaf").exists)
    return parent, [status(app, number)["pid"] for number in range(3)]


@pytest.mark.parametrize(("sent", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_stopped_leaves_no_process(app: Path, sent: signal.Signals, expected: int) -> None:
    parent, pids = hanging(app)
    parent.send_signal(sent)
    parent.communicate(timeout=mini_app.DEADLINE_SECONDS)
    assert parent.returncode == expected
    assert all(map(is_gone, pids))
    for number in range(3):
        assert status(app, number)["status"] == "killed"
        assert status(app, number)["error"] == "stopped before its end"
    assert status(app, 3) == {}  # it was not started


def test_a_second_interrupt_does_not_wait(app: Path) -> None:
    parent = start(app, "act=deaf", "hydra.launcher.grace_s=1000")
    wait_for((app / "sweep" / "0" / "deaf").exists)
    parent.send_signal(signal.SIGINT)
    lines = iter(parent.stdout or ())
    assert any("stopping" in line for line in lines)
    parent.send_signal(signal.SIGINT)
    parent.communicate(timeout=mini_app.DEADLINE_SECONDS)
    assert parent.returncode == 130
    assert is_gone(status(app, 0)["pid"])
    assert status(app, 0)["status"] == "killed"


def test_a_sweep_that_is_killed_leaves_no_process(app: Path) -> None:
    parent, pids = hanging(app)
    parent.kill()
    parent.communicate(timeout=mini_app.DEADLINE_SECONDS)
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid))
    assert [status(app, number)["status"] for number in range(3)] == ["killed", "killed", "running"]
    with dead(app / "sweep" / "2") as is_dead:
        assert is_dead  # the next sweep says so in its file


def test_the_reason_in_a_status_line_is_one_short_line() -> None:
    assert _in_short("ratio is 2.\n  Ask for less.") == "ratio is 2. Ask for less"
    long = _in_short("word " * 100)
    assert (len(long), long[-7:]) == (
        157,
        "word...",
    )  # 31 times "word ", without the last space; and the dots


def test_whoever_starts_jobs_need_not_wait_for_torch() -> None:
    program = (
        "import sys; from segprune.sweep import kubernetes, launcher, slurm; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
