import json
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from segprune.report.collect import collect
from segprune.status import JobRecord, write
from segprune.sweep import callback
from segprune.sweep.callback import SweepCallback, _asked, parent_run_id, recorded_job
from segprune.tracking.record import checked_name
from tests.report.sweeps import job_data, write_job
from tests.tables import give_tables
from tests.test_conf import composed

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
SMALL = [
    "tracking=silent",
    "dataset.counts={fit: 4, select: 2, report: 2}",
    "dataset.size_hw=[32,32]",
    "model.width=4",
]
pytestmark = pytest.mark.usefixtures("composer")


def status(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return loaded


def started(folder: Path, *overrides: str) -> None:
    place = [f"hydra.sweep.dir={folder}", f"paths.outputs={folder.parent}"]
    SweepCallback().on_multirun_start(composed(*place, *(overrides or ["tracking=silent"])))


def ratios(*values: float) -> list[str]:
    """A sweep over them."""
    params = f"{{pruner: l1, ratio: '{','.join(map(str, values))}'}}"
    return ["tracking=silent", "sweep=grid", f"hydra.sweeper.params={params}"]


@pytest.fixture(autouse=True)
def clean():
    yield
    callback._opened.clear()
    HydraConfig.instance().cfg = None


def job(folder: Path, number: int) -> JobRecord:
    (folder / str(number)).mkdir(parents=True)
    return JobRecord(folder / str(number), ASKED)


def test_a_job_that_is_stopped_is_recorded_as_killed(tmp_path: Path) -> None:
    choices = {name: ASKED[name] for name in ("dataset", "model", "pruner", "budget", "distill", "protocol")}
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
    started(tmp_path, *ratios(0.3, 0.5))
    for number, end in enumerate(ends):
        record = job(tmp_path, number)
        if end == "done":
            record.done({"name": "x", "was_reused": False, "rows": []})
        elif end == "failed":
            record.failed("no memory")
    assert status(tmp_path)["status"] == "running"
    assert callback.finish(code) == expected
    assert parent_run_id() is None
    assert status(tmp_path)["status"] == ("killed" if code else "done")


def test_whatever_a_report_ends_in_the_sweep_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started(tmp_path)
    write_job(tmp_path / "0", job_data(0, "l1", 40.0))
    (tmp_path / "report.html").mkdir()  # where the page is to be written
    assert callback.finish(0) == 0
    assert "no report" in caplog.text
    assert "IsADirectoryError" in caplog.text
    assert status(tmp_path)["status"] == "done"


def test_failures_are_listed_with_their_reasons(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    started(tmp_path, *ratios(0.3, 0.5))
    job(tmp_path, 0).failed("no memory")
    job(tmp_path, 1)
    with caplog.at_level("INFO"):
        callback.finish(0)
    assert "FAILED l1 0.3 seed 0: no memory" in caplog.text
    assert "KILLED l1 0.3 seed 0: its process was killed" in caplog.text
    assert status(tmp_path)["failed"] == 1


def test_an_interrupted_sweep_says_what_is_missing_and_how_to_finish_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started(tmp_path, *ratios(0.3, 0.4, 0.5))
    job(tmp_path, 0).killed()
    with caplog.at_level("INFO"):
        assert callback.finish(128 + signal.SIGINT) == 0
    assert "3 jobs asked: 1 killed, 2 not started." in caplog.text
    assert re.search(rf"\npython run.py -m .* hydra.sweep.dir={tmp_path}\n", caplog.text)
    found = json.loads((tmp_path / "benchmark_summary.json").read_text())
    assert [(one["number"], one["ratio"], one["status"]) for one in found["unfinished"]] == [
        *(("0", 0.3, "killed"), ("1", 0.4, "not started"), ("2", 0.5, "not started")),
    ]
    assert found["asked"] == 3


def test_jobs_of_an_earlier_sweep_into_the_same_folder_are_not_those_of_this_one(tmp_path: Path) -> None:
    done = {"name": "x", "was_reused": False, "rows": []}
    started(tmp_path, *ratios(0.3, 0.4, 0.5))
    for number, ratio in enumerate((0.3, 0.4, 0.5)):
        job(tmp_path, number).done(done)
        typed = [
            "pruner=l1",
            f"ratio={ratio}",
            f"paths.outputs={tmp_path.parent}",
            "tracking=silent",
            "sweep=grid",
        ]
        (tmp_path / str(number) / ".hydra").mkdir()
        (tmp_path / str(number) / ".hydra" / "overrides.yaml").write_text(json.dumps(typed))  # JSON is YAML
    callback.finish(0)
    assert (status(tmp_path)["jobs"], [one.number for one in collect(tmp_path).jobs]) == (3, ["0", "1", "2"])

    started(tmp_path, *ratios(0.3, 0.7))  # stopped before its second job
    callback.finish(128 + signal.SIGINT)
    assert [(one.number, one.outcome.status) for one in collect(tmp_path).jobs] == [
        ("0", "done"),  # the same job as before
        ("1", "not started"),
    ]
    assert not (tmp_path / "1" / "status.json").exists()
    assert status(tmp_path / "2")["status"] == "done"

    started(tmp_path, *ratios(0.3, 0.7))
    JobRecord(tmp_path / "1", {**ASKED, "ratio": 0.7}).done(done)
    callback.finish(0)
    assert [one.outcome.ratio for one in collect(tmp_path).jobs] == [0.3, 0.7]
    assert status(tmp_path)["jobs"] == 2


def test_without_a_sweep_there_is_nothing_to_finish() -> None:
    assert callback.finish(0) == 0


def test_a_tracking_mistake_ends_the_sweep_before_its_first_job(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"tracking\.flush_seconds is -1"):
        started(tmp_path, "tracking.flush_seconds=-1")


def test_a_sweep_without_a_job_leaves_no_run(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    give_tables(tmp_path)
    started(tmp_path / "sweep", f"tracking.root={tmp_path}", "tracking.experiment=none", "tracking.uri=null")
    run_id = parent_run_id()
    assert run_id
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_run(run_id).info.lifecycle_stage == "active"
    assert callback.finish(1) == 0
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"


@pytest.mark.parametrize(("code", "outcome"), [(0, "done"), (1, "failed")])
def test_a_sweep_without_a_job_failed_only_if_its_command_did(
    tmp_path: Path, code: int, outcome: str
) -> None:
    started(tmp_path)
    assert callback.finish(code) == 0
    assert status(tmp_path)["status"] == outcome


def test_a_sweep_in_the_folder_of_a_living_one_is_refused(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(
        SystemExit, match=rf"{tmp_path} belongs to a run that is still going on \(process \d+\)"
    ):
        started(tmp_path)


def test_a_plan_is_shown_and_nothing_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as ended:
        started(tmp_path / "sweep", "hydra/launcher=plan", *SMALL)
    assert ended.value.code == 0
    assert "one job after another" in caplog.text
    assert "unknown use of disk" in caplog.text
    assert "Nothing was run but these steps." in caplog.text
    assert not (tmp_path / "sweep").exists()
    assert parent_run_id() is None
    assert callback.finish(0) == 0


def test_a_plan_of_a_single_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="hydra/launcher=plan shows what a sweep would do; add -m"):
        SweepCallback().on_run_start(composed("hydra/launcher=plan"))
    SweepCallback().on_run_start(composed("hydra/launcher=processes"))


KILLED = """
import os, signal, sys
from pathlib import Path
from segprune.status import JobRecord
from segprune.tracking.contract import RunStart
from segprune.tracking.mlflow_tracker import MlflowTracking
tracking = MlflowTracking(uri=None, root=Path(sys.argv[1]), experiment="killed", flush_seconds=1000)
runs, records, parent = [], [], None
for folder in map(Path, sys.argv[2:]):
    runs.append(tracking.open(RunStart(name="x", kind="job", folder=folder, parent_run_id=parent)))
    records.append(JobRecord(folder, {}))
    records[-1].tracked(runs[-1].run_id)
    runs[-1].metrics({"a": 1.0})
    parent = runs[0].run_id
runs[1].close("FINISHED")
records[1].done({})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_as_running_is_ended_by_the_next(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    give_tables(tmp_path)
    sweep_folder = tmp_path / "sweeps" / "old"
    folders = [sweep_folder, sweep_folder / "0", sweep_folder / "1", tmp_path / "runs" / "single"]
    for folder in folders:
        folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), *map(str, folders)], check=False)
    assert [status(folder)["status"] for folder in folders] == ["running", "done", "running", "running"]
    living = tmp_path / "sweeps" / "living"
    living.mkdir()
    record = JobRecord(living, {})
    place = [f"paths.outputs={tmp_path}", "tracking.uri=null"]
    SweepCallback().on_run_start(composed(*place))
    assert [status(folder)["status"] for folder in folders] == ["killed", "done", "killed", "killed"]
    assert status(folders[0])["error"] == "its process was killed"
    assert status(living)["status"] == "running"
    record.killed()
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    ends = [client.get_run(status(folder)["run_id"]).info.status for folder in folders]
    assert ends == ["KILLED", "FINISHED", "KILLED", "KILLED"]
    logged = [client.get_run(status(folder)["run_id"]).data.metrics for folder in folders]
    assert logged == [{"a": 1.0}] * 4  # also what they had not sent


def test_a_sweep_ends_what_killed_runs_left_too(tmp_path: Path) -> None:
    dead = tmp_path / "sweeps" / "dead"
    dead.mkdir(parents=True)
    write(dead, {"status": "running", "host": platform.node()})  # and no process holds its lock
    started(tmp_path / "sweeps" / "new", "tracking=silent", f"paths.outputs={tmp_path}")
    assert status(dead)["status"] == "killed"


def test_a_record_of_another_run_that_cannot_be_read_stops_no_sweep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "runs" / "other"
    other.mkdir(parents=True)
    (other / "status.json").write_text("{")
    started(tmp_path / "sweeps" / "new", "tracking=silent", f"paths.outputs={tmp_path}")
    assert f"{other / 'status.json'} cannot be read" in caplog.text


def test_the_tracked_sweep_has_its_options_and_axes_as_params(tmp_path: Path) -> None:
    config = composed("budget=macs", f"paths.outputs={tmp_path}")
    asked = _asked(
        config, ["budget=macs", "pruner=taylor,fpgm", "ratio=0.2,0.3", "+x=1", "finetune@between=none,long"]
    )
    assert asked["dataset.name"] == "streets"
    assert asked["budget.name"] == "macs"
    assert asked["pruner.name"] == "taylor,fpgm"
    assert (asked["ratio"], asked["x"]) == ("0.2,0.3", "1")
    assert (asked["between.name"], asked["finetune.name"]) == ("none,long", "short")
    assert [checked_name(name) for name in asked] == list(asked)  # MLflow takes them
