import subprocess
import sys
from pathlib import Path

import pytest

from segprune.report.__main__ import main
from segprune.status import write
from tests.report.sweeps import job_data, write_job


def test_the_report_goes_into_the_sweeps_folder(tmp_path: Path) -> None:
    write_job(tmp_path / "0", job_data(0, "taylor", 45.0))
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").is_file()


def test_the_report_goes_where_it_is_told(tmp_path: Path) -> None:
    write_job(tmp_path / "sweep" / "0", job_data(0, "taylor", 45.0))
    assert main([str(tmp_path / "sweep"), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
    assert not (tmp_path / "sweep" / "report.html").exists()


def test_what_is_missing_is_told_where_it_was_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_job(tmp_path / "0", job_data(0, "taylor", 45.0))
    write(tmp_path, {"asked": {"overrides": "ratio=0.3,0.5"}, "status": "killed", "folders": ["0", "1"]})
    with caplog.at_level("INFO"):
        assert main([str(tmp_path)]) == 0
    assert "2 jobs asked: 1 done, 1 not started. This finishes the sweep" in caplog.text
    assert f"python run.py -m ratio=0.3,0.5 hydra.sweep.dir={tmp_path}" in caplog.text


def test_a_folder_that_is_no_sweep_is_one_line_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"segprune: {tmp_path} holds no job")


def test_it_is_a_module_to_run() -> None:
    command = [sys.executable, "-m", "segprune.report", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "folder of the sweep" in done.stdout
