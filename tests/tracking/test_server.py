"""The tracker against a real ``mlflow server`` that is really killed."""

import os
import shutil
import signal

import pytest

from segprune.tracking.contract import RunStart
from segprune.tracking.journal import journals
from segprune.tracking.replay import main
from segprune.tracking.search import runs_where
from segprune.tracking.store import open_client, sqlite_uri
from tests.tracking.sample_job import assert_the_job_is_there, log_a_job

pytestmark = pytest.mark.slow


def test_the_same_through_a_server(make, server, tmp_path):
    tracking = make(uri=f"{server.uri}/")
    sweep = tracking.open(RunStart(name="sweep 01-02", kind="sweep", folder=tmp_path / "sweep"))
    job = log_a_job(tracking, tmp_path / "job", sweep.run_id)
    sweep.close("FINISHED")
    assert_the_job_is_there(open_client(server.uri), job.run_id, sweep.run_id)
    assert job.url_hint.startswith(f"{server.uri}/#/experiments/")


def test_an_experiment_made_through_our_server_takes_runs_without_it_too(make, server, tmp_path):
    through = make(uri=server.uri).open(RunStart(name="a", kind="job", folder=tmp_path))
    through.close("FINISHED")
    direct = make(uri=sqlite_uri(server.folder)).open(RunStart(name="b", kind="job", folder=tmp_path))
    direct.text("x", "x.txt")
    direct.close("FINISHED")
    client = open_client(server.uri)
    assert [file.path for file in client.list_artifacts(direct.run_id)] == ["x.txt"]
    assert (
        client.get_run(through.run_id).info.experiment_id == client.get_run(direct.run_id).info.experiment_id
    )


def test_a_server_that_dies_costs_nothing_but_time(make, server, tmp_path, caplog):
    tracking = make(uri=server.uri)
    run = tracking.open(RunStart(name="x", kind="job", folder=tmp_path))
    run.metrics({"a": 1.0}, step=0)
    run.sender.flush()
    server.kill()
    run.metrics({"a": 2.0}, step=1)
    run.params({"ratio": 0.3})
    run.text("x", "eval/x.txt")
    run.close("FINISHED")
    (path,) = journals(tmp_path)
    kept = path.read_text()
    assert all(f'"kind": "{kind}"' in kept for kind in ("metrics", "params", "artifact", "end"))
    assert len([record for record in caplog.records if "The run goes on" in record.message]) == 1
    server.start()
    assert tracking.replay(tmp_path) == 0
    again = open_client(server.uri)
    stored = again.get_run(run.run_id)
    assert (stored.info.status, stored.data.params) == ("FINISHED", {"ratio": "0.3"})
    assert [point.value for point in again.get_metric_history(run.run_id, "a")] == [1.0, 2.0]
    assert [file.path for file in again.list_artifacts(run.run_id, "eval")] == ["eval/x.txt"]
    assert not (tmp_path / "tracking_journal").exists()


def test_a_server_that_comes_back_during_the_run_gets_what_it_missed(make, server, tmp_path):
    run = make(uri=server.uri).open(RunStart(name="x", kind="job", folder=tmp_path))
    server.kill()
    run.params({"ratio": 0.3})
    assert (tmp_path / "tracking_journal").exists()
    server.start()
    run.close("FINISHED")
    stored = open_client(server.uri).get_run(run.run_id)
    assert (stored.info.status, stored.data.params) == ("FINISHED", {"ratio": "0.3"})
    assert not (tmp_path / "tracking_journal").exists()


def test_a_job_that_begins_while_the_server_is_dead_arrives_whole_and_once(
    make, server, tmp_path, monkeypatch, caplog
):
    tracking = make(uri=server.uri)
    sweep = tracking.open(RunStart(name="sweep 01-02", kind="sweep", folder=tmp_path / "sweep"))
    server.kill()
    job = log_a_job(tracking, tmp_path / "job", sweep.run_id)
    assert job.run_id == ""
    assert len([record for record in caplog.records if "The run goes on" in record.message]) == 1
    assert tracking.close_children(sweep.run_id) == 0
    child = os.fork()
    if child == 0:
        killed = RunStart(name="killed", kind="job", folder=tmp_path / "killed", parent_run_id=sweep.run_id)
        tracking.open(killed).metrics({"a": 1.0}, step=3)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    saved = shutil.copytree(tmp_path / "job", tmp_path / "saved")
    assert main([str(tmp_path / "job")]) == 0
    assert main([str(saved)]) == 0  # as if the answer to all that had been lost
    again = open_client(server.uri)
    experiment = again.get_experiment_by_name(tracking.experiment)
    (run,) = again.search_runs([experiment.experiment_id], "tags.kind = 'job'")
    assert_the_job_is_there(again, run.info.run_id, sweep.run_id)
    assert tracking.replay(tmp_path) == 0
    (killed,) = again.search_runs([experiment.experiment_id], "attributes.run_name = 'killed'")
    assert (killed.info.status, killed.data.metrics) == ("KILLED", {"a": 1.0})
    assert [path.parent.name for path in tmp_path.rglob("tracking_journal")] == ["sweep"]  # it goes on


def test_a_server_that_comes_back_during_a_job_gets_it_without_a_replay(make, server, tmp_path):
    tracking = make(uri=server.uri)
    sweep = tracking.open(RunStart(name="sweep", kind="sweep", folder=tmp_path / "sweep"))
    server.kill()
    job = tracking.open(RunStart(name="x", kind="job", folder=tmp_path, parent_run_id=sweep.run_id))
    server.start()
    job.params({"ratio": 0.3})
    job.close("FINISHED")
    client = open_client(server.uri)
    (stored,) = runs_where(client, f"tags.`mlflow.parentRunId` = '{sweep.run_id}'", is_deleted_too=False)
    assert (stored.info.status, stored.data.params) == ("FINISHED", {"ratio": "0.3"})
    assert not (tmp_path / "tracking_journal").exists()
