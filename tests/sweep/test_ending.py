from pathlib import Path

import pytest

from segprune.status import write
from segprune.sweep.ending import outcomes_of, tell
from segprune.tracking.contract import RunStart
from segprune.tracking.silent import SilentTracking
from tests.report.sweeps import job_data, write_job
from tests.report.test_collect import noted


def told(folder: Path) -> None:
    tracker = SilentTracking().open(RunStart(name="sweep", kind="sweep", folder=folder))
    tell(folder, outcomes_of(folder), "pruner=l1", tracker)


def test_jobs_that_have_not_started_are_there_as_far_as_they_are_known(tmp_path: Path) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    write(tmp_path, {"folders": noted(0.3, 0.5)})
    assert [(one.status, one.ratio) for one in outcomes_of(tmp_path)] == [("done", 0.3), ("not started", 0.5)]
    write(tmp_path, {"folders": ["0", "1"]})
    assert [one.status for one in outcomes_of(tmp_path)] == ["done"]


def test_what_differs_besides_the_columns_names_each_job(tmp_path: Path) -> None:
    for number, changed in enumerate(("rounds=1", "rounds=2")):
        typed = ["pruner=l1", "finetune.epochs=1", changed]
        write_job(tmp_path / str(number), job_data(number, "l1", 40.0), typed=typed)
    assert [one.setting for one in outcomes_of(tmp_path)] == ["rounds=1", "rounds=2"]


def test_the_table_ends_in_what_is_missing_and_the_report_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    # what is told last is told by the sweep itself, whose file says that it is running
    write(tmp_path, {"status": "running", "host": "here", "folders": noted(0.3, 0.5)})
    with caplog.at_level("INFO"):
        told(tmp_path)
    assert "2 jobs asked: 1 done, 1 not started. This finishes the sweep" in caplog.text
    assert f"report: {tmp_path}/report.html" in caplog.text


def test_a_sweep_that_cannot_be_reported_is_told_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    (tmp_path / "report.html").mkdir()  # where the page is to be written
    with caplog.at_level("INFO"):
        told(tmp_path)
    assert "mIoU % before the cut" in caplog.text
    assert f"no report; segprune report {tmp_path} tries again" in caplog.text
