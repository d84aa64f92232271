import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from segprune import stop
from tests.run_here import ROOT
from tests.test_cli import TINY
from tests.warm import Warm


@pytest.fixture(autouse=True)
def restored():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    stop._asked.clear()


def test_a_request_is_obeyed_at_the_next_safe_moment() -> None:
    stop.install()
    stop.if_asked()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        stop.if_asked()
    assert ended.value.code == 143


def test_a_second_request_is_obeyed_at_once() -> None:
    stop.install()
    stop.on_terminate(signal.SIGTERM, None)
    with pytest.raises(SystemExit) as ended:
        stop.on_terminate(signal.SIGTERM, None)
    assert ended.value.code == 143


def started(outputs: Path, *arguments: str) -> Warm:
    """A command in a process group of its own, as schedulers start it."""
    environment = {
        **os.environ,
        "SEGPRUNE_OUTPUTS": str(outputs),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return Warm([str(ROOT / "run.py"), *TINY, "tracking=silent", *arguments], environment)


def until(process: Warm, what: str) -> None:
    """Wait for a line of the output that has it."""
    while not re.search(what, process.output()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
def test_a_signal_to_the_whole_group_ends_a_run_with_workers_in_order_and_it_goes_on_from_there(
    tmp_path: Path,
) -> None:
    arguments = ("stages=[train]", "workers=2", "train.epochs=400")
    process = started(tmp_path, *arguments)
    until(process, r"epoch +2/400")
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert "terminated; the same command continues from here" in error
    assert "DataLoader" not in error
    (status,) = tmp_path.glob("runs/*/*/status.json")
    assert json.loads(status.read_text())["status"] == "killed"
    again = started(tmp_path, *arguments)
    until(again, r"continuing after epoch \d+")
    os.killpg(again.pid, signal.SIGTERM)
    again.communicate(timeout=60)
    assert again.returncode == 143


@pytest.mark.slow
def test_a_plan_hears_signals_and_says_that_it_did_not_end(tmp_path: Path) -> None:
    seeds = ",".join(map(str, range(400)))
    process = started(tmp_path, "-m", "hydra/launcher=plan", f"seed={seeds}", "ratio=0.2,0.3,0.4")
    time.sleep(8)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
