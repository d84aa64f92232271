import os
import sys
from pathlib import Path

import pytest

from segprune.sweep.later import Later, command, told


def test_the_last_job_is_told_what_the_first_command_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told() is None
    later = Later("abc", {0: "7_0", 12: "8_12"})
    for name, value in later.variable().items():
        monkeypatch.setenv(name, value)
    assert told() == later


def test_its_command_is_that_of_this_process_in_the_folder_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", "seed=0,1"])
    assert command(tmp_path / "a b") == [
        *(sys.executable, os.path.abspath("run.py"), "-m", "seed=0,1"),
        f'hydra.sweep.dir="{tmp_path}/a b"',
    ]
