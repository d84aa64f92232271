import json
import signal
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from segprune import sweep
from segprune.sweep import JobRecord, SweepCallback, parent_run_id, recorded_job
from tests.test_conf import composed, composer

ASKED = {"dataset": "streets", "model": "unet", "pruner": "l1", "budget": "channels", "ratio": 0.3, "seed": 0}
__all__ = ["composer"]  # a fixture that starts Hydra for every test of this file


def status(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return loaded


def started(folder: Path, *overrides: str) -> None:
    SweepCallback().on_multirun_start(
        composed(f"hydra.sweep.dir={folder}", *(overrides or ["tracking=silent"]))
    )


@pytest.fixture(autouse=True)
def clean():
    yield
    sweep._opened.clear()
    HydraConfig.instance().cfg = None


def job(folder: Path, number: int) -> JobRecord:
    (folder / str(number)).mkdir(parents=True)
    return JobRecord(folder / str(number), ASKED)


def test_a_record_tells_every_state(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, ASKED)
    assert (status(tmp_path)["status"], status(tmp_path)["asked"]) == ("running", ASKED)
    record.done({"name": "l1-r0.3-s0", "was_reused": False, "rows": []})
    assert (status(tmp_path)["status"], status(tmp_path)["name"]) == ("done", "l1-r0.3-s0")
    record.failed("no memory")
    assert (status(tmp_path)["status"], status(tmp_path)["error"]) == ("failed", "no memory")


def test_a_job_that_is_stopped_is_recorded_as_killed(tmp_path: Path) -> None:
    choices = {name: ASKED[name] for name in ("dataset", "model", "pruner", "budget")}
    runtime = {"output_dir": str(tmp_path), "choices": choices}
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": {"runtime": runtime}})  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt), recorded_job(OmegaConf.create({"ratio": 0.3, "seed": 0})):
        raise KeyboardInterrupt
    assert (status(tmp_path)["status"], status(tmp_path)["asked"]) == ("killed", ASKED)


@pytest.mark.parametrize(
    ("ends", "code", "expected"),
    [
        (["done", "done"], 0, 0),
        (["done", "failed"], 0, 3),
        (["done", "running"], 128 + signal.SIGINT, 0),  # the exit code then says that it was interrupted
    ],
)
def test_the_exit_code_says_whether_jobs_failed(
    tmp_path: Path, ends: list[str], code: int, expected: int
) -> None:
    started(tmp_path)
    for number, end in enumerate(ends):
        record = job(tmp_path, number)
        if end == "done":
            record.done({"name": "x", "was_reused": False, "rows": []})
        elif end == "failed":
            record.failed("no memory")
    assert sweep.finish(code) == expected
    assert parent_run_id() is None


def test_failures_are_listed_with_their_reasons(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    started(tmp_path)
    job(tmp_path, 0).failed("no memory")
    job(tmp_path, 1)
    with caplog.at_level("INFO"):
        sweep.finish(0)
    assert "FAILED l1 0.3 seed 0: no memory" in caplog.text
    assert "FAILED l1 0.3 seed 0: stopped before its end" in caplog.text


def test_without_a_sweep_there_is_nothing_to_finish() -> None:
    assert sweep.finish(0) == 0


def test_a_tracking_mistake_ends_the_sweep_before_its_first_job(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"tracking\.flush_seconds is -1"):
        started(tmp_path, "tracking.flush_seconds=-1")


def test_a_sweep_without_a_job_leaves_no_run(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    started(tmp_path / "sweep", f"tracking.root={tmp_path}", "tracking.experiment=none", "tracking.uri=null")
    run_id = parent_run_id()
    assert run_id
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_run(run_id).info.lifecycle_stage == "active"
    assert sweep.finish(1) == 0
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
