import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.gpu_check.commands import _done, jobs_share, same_run, which_gpu
from segprune.gpu_check.contract import Bench
from tests.gpu_check.benches import small
from tests.gpus import with_gpus, without_memory
from tests.warm import run_warm


def test_every_way_to_ask_gives_the_first_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = with_gpus(monkeypatch, 1)
    bench = replace(small(tmp_path), device=torch.device("cuda", 0))
    with without_memory():
        found = which_gpu(bench)
    assert found.holds
    assert found.measured.startswith("auto, cuda, cuda:0 give cuda:0, cuda:0, cuda:0; {'name': 'Stub A100'")
    driver.capability = (7, 0)
    with pytest.raises(Exception, match=r"CUDA 12\.6"), without_memory():
        which_gpu(bench)


def test_a_command_that_does_not_end_is_told_to_stop(tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    program = f"""
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path({str(stopped)!r}).touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
pathlib.Path({str(stopped) + "-ready"!r}).touch()
time.sleep(60)
"""
    bench = replace(small(tmp_path), ends_at=time.monotonic() + 1)
    with pytest.raises(TimeoutError, match="a command was not done when the time of all rules was up"):
        _done([sys.executable, "-c", program], bench)
    assert stopped.exists()


def test_a_command_that_ends_is_told_with_its_code_and_what_it_said(tmp_path: Path) -> None:
    program = "import sys; print('here'); sys.exit('there')"
    done = _done([sys.executable, "-c", program], small(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (1, "here\n", "there\n")


@pytest.mark.slow
def test_a_run_and_two_jobs_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def done(command: Sequence[str], bench: Bench) -> subprocess.CompletedProcess[str]:
        assert command[:2] == [sys.executable, "run.py"]
        return run_warm(dict(os.environ), *command[2:])

    monkeypatch.setattr("segprune.gpu_check.commands._done", done)
    bench = small(tmp_path)
    found = same_run(bench)
    assert found.measured.startswith("mask error ")
    assert found.measured.endswith(", mIoU at most 0.00 points apart")
    assert found.holds
    assert jobs_share(bench).measured == "two jobs: exit code 0"
