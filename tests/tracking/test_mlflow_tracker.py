import os

import pytest

from segprune.errors import TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.failure import UnreachableError
from tests.tracking.conftest import free_port
from tests.tracking.sample_job import assert_the_job_is_there, left_alone, log_a_job


def test_a_sweep_and_its_job_are_found_back(make, client, root, tmp_path):
    tracking = make()
    sweep = tracking.open(RunStart(name="sweep 01-02", kind="sweep", folder=tmp_path / "sweep"))
    job = log_a_job(tracking, tmp_path / "job", sweep.run_id)
    sweep.metrics({"sweep/jobs": 1})
    sweep.close("FINISHED")
    assert_the_job_is_there(client, job.run_id, sweep.run_id)
    parent = client.get_run(sweep.run_id)
    assert (parent.data.tags["kind"], parent.info.status) == ("sweep", "FINISHED")
    assert parent.data.metrics == {"sweep/jobs": 1.0}
    stored = root / "mlartifacts" / tracking.experiment / job.run_id / "artifacts/eval/metrics.json"
    assert stored.read_text() == '{"a": 1}'
    assert f"/runs/{job.run_id}" in job.url_hint
    assert job.url_hint.startswith(f"segprune ui --outputs {root}, then http://")
    assert not list(tmp_path.rglob("tracking_journal*"))


def test_several_runs_at_once_do_not_mix_and_mlflows_own_state_does_not_matter(
    make, client, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tracking = make()
    runs = [tracking.open(RunStart(name=f"r{i}", kind="job", folder=tmp_path / str(i))) for i in range(2)]
    for step in range(3):
        for number, run in enumerate(runs):
            run.metrics({"a": float(number)}, step=step)
    for run in runs:
        run.text("x", "x.txt")
        run.close("FINISHED")
    for number, run in enumerate(runs):
        assert [point.value for point in client.get_metric_history(run.run_id, "a")] == [float(number)] * 3
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"


def test_many_metrics_at_one_step_all_arrive(make, client, tmp_path):
    run = make().open(RunStart(name="x", kind="job", folder=tmp_path))
    run.metrics({f"m{number}": float(number) for number in range(1500)})
    run.close("FINISHED")
    metrics = client.get_run(run.run_id).data.metrics
    assert metrics == {f"m{number}": float(number) for number in range(1500)}


def test_an_interrupted_run_is_continued(make, client, tmp_path):
    tracking = make()
    first = tracking.open(RunStart(name="x", kind="job", folder=tmp_path))
    first.params({"ratio": 0.3})
    first.metrics({"a": 1.0}, step=0)
    first.close("KILLED")
    second = tracking.open(
        RunStart(name="x", kind="job", folder=tmp_path, run_id=first.run_id, tags={"resumed": "1"})
    )
    assert client.get_run(first.run_id).info.status == "RUNNING"
    second.params({"ratio": 0.3})
    second.metrics({"a": 2.0}, step=1)
    second.close("FINISHED")
    run = client.get_run(first.run_id)
    assert second.run_id == first.run_id
    assert (run.info.status, run.data.tags["resumed"], run.data.metrics) == ("FINISHED", "1", {"a": 2.0})


def test_a_changed_param_of_a_continued_run_does_not_stop_it(make, client, tmp_path, caplog):
    tracking = make()
    first = tracking.open(RunStart(name="x", kind="job", folder=tmp_path))
    first.params({"ratio": 0.3})
    first.close("KILLED")
    second = tracking.open(RunStart(name="x", kind="job", folder=tmp_path, run_id=first.run_id))
    second.params({"ratio": 0.5})
    second.close("FINISHED")
    assert client.get_run(first.run_id).data.params == {"ratio": "0.3"}
    assert "refuses params" in caplog.text
    assert (tmp_path / f"tracking_journal/{first.run_id}.refused.jsonl").exists()


def test_a_deleted_run_cannot_be_continued(make, client, tmp_path):
    tracking = make()
    run = tracking.open(RunStart(name="x", kind="job", folder=tmp_path))
    run.close("FINISHED")
    client.delete_run(run.run_id)
    with pytest.raises(TrackingError, match=rf"run {run.run_id} was deleted; restore"):
        tracking.open(RunStart(name="x", kind="job", folder=tmp_path, run_id=run.run_id))


def test_a_run_that_is_not_in_the_store_cannot_be_continued(make, tmp_path):
    with pytest.raises(TrackingError, match=r"fails: .*0000.*not found"):
        make().open(RunStart(name="x", kind="job", folder=tmp_path, run_id="0" * 32))


def test_what_an_interrupted_run_had_not_sent_comes_before_what_its_continuation_logs(make, client, tmp_path):
    tracking = make()
    first = tracking.open(RunStart(name="x", kind="job", folder=tmp_path))
    first.metrics({"a": 1.0}, step=0)
    left_alone(first)
    second = tracking.open(RunStart(name="x", kind="job", folder=tmp_path, run_id=first.run_id))
    assert client.get_run(first.run_id).info.status == "RUNNING"
    second.metrics({"a": 2.0}, step=1)
    second.close("FINISHED")
    assert [point.value for point in client.get_metric_history(first.run_id, "a")] == [1.0, 2.0]
    assert client.get_run(first.run_id).info.status == "FINISHED"


def test_children_that_died_are_closed_and_no_others(make, client, tmp_path):
    tracking = make()
    sweep = tracking.open(RunStart(name="sweep", kind="sweep", folder=tmp_path))
    jobs = [
        tracking.open(RunStart(name=name, kind="job", folder=tmp_path, parent_run_id=parent))
        for name, parent in [("dead", sweep.run_id), ("done", sweep.run_id), ("other", None)]
    ]
    jobs[1].close("FINISHED")
    assert tracking.close_children(sweep.run_id) == 1
    states = [client.get_run(job.run_id).info.status for job in jobs]
    assert states == ["KILLED", "FINISHED", "RUNNING"]
    assert tracking.close_children(sweep.run_id) == 0


def test_a_run_whose_process_died_is_ended_and_one_that_has_ended_stays_as_it_is(make, client, tmp_path):
    tracking = make()
    runs = [tracking.open(RunStart(name=name, kind="job", folder=tmp_path)) for name in ("dead", "done")]
    runs[1].close("FINISHED")
    for run in runs:
        tracking.end(run.run_id)
    assert [client.get_run(run.run_id).info.status for run in runs] == ["KILLED", "FINISHED"]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{}", "./mlruns"])
def test_the_end_of_a_sweep_does_not_fail_with_its_store(make, uri, caplog):
    tracking = make(uri=uri.format(free_port()))
    assert tracking.close_children("x") == 0
    tracking.discard("the-sweep")
    tracking.end("the-run")
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "still be shown as running" in caplog.messages[0]
    assert "the-sweep could not be deleted" in caplog.messages[1]
    assert "the-run may still be shown as running" in caplog.messages[2]


def test_children_in_a_store_that_fails_half_way_are_not_an_error(make, monkeypatch, caplog):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(*arguments, **options):
        raise MlflowException("disk I/O error")

    monkeypatch.setattr(MlflowClient, "search_runs", fail)
    assert make().close_children("x") == 0
    assert "disk I/O error" in caplog.text


def test_a_single_run_and_a_sweep_need_the_store_at_the_start(make, tmp_path):
    tracking = make(uri=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TrackingError, match="no MLflow server answers"):
        tracking.open(RunStart(name="x", kind="sweep", folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_job_of_a_sweep_is_kept_on_disk_while_the_store_is_out(make, tmp_path, caplog):
    caplog.set_level("WARNING", "segprune")
    password = "http://me:secret@host"
    tracking = make(uri=f"http://me:secret@127.0.0.1:{free_port()}")
    run = tracking.open(RunStart(name="x", kind="job", folder=tmp_path, parent_run_id="p", note=password))
    assert (run.run_id, run.url_hint) == ("", "")
    run.tags({"a": password})
    run.text(password, "config.yaml")
    (first,) = [message for message in caplog.messages if "The run goes on" in message]
    assert "no MLflow server answers" in first
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    (journal,) = [path for path in files if path.suffix == ".jsonl"]
    assert journal.name.startswith("unsent-")
    assert '"kind": "create"' in journal.read_text()
    assert sorted(path.suffix for path in files) == [".jsonl", ".lock", ".yaml"]
    assert "secret" not in "".join(path.read_text() for path in files) + caplog.text
    run.close("FINISHED")
    assert "segprune replay" in caplog.text


def test_a_job_whose_experiment_was_deleted_during_an_outage_waits_and_names_the_way_on(
    make, client, root, tmp_path, monkeypatch, caplog
):
    tracking = make()
    sweep = tracking.open(RunStart(name="sweep", kind="sweep", folder=tmp_path / "sweep"))

    def out(uri):
        raise UnreachableError("out")

    with monkeypatch.context() as outage:
        outage.setattr("segprune.tracking.mlflow_tracker.open_client", out)
        job = tracking.open(
            RunStart(name="x", kind="job", folder=tmp_path / "job", parent_run_id=sweep.run_id)
        )
        job.close("FINISHED")
    experiment_id = client.get_run(sweep.run_id).info.experiment_id
    client.delete_experiment(experiment_id)
    assert tracking.replay(tmp_path / "job") == 2
    assert f"was deleted; restore it with `mlflow experiments restore -x {experiment_id}`" in caplog.text
    client.restore_experiment(experiment_id)
    assert tracking.replay(tmp_path / "job") == 0
    (run,) = client.search_runs([experiment_id], "tags.kind = 'job'")
    assert run.info.status == "FINISHED"


def test_a_continued_job_of_a_sweep_keeps_its_id_while_the_store_is_out(make, tmp_path):
    tracking = make(uri=f"http://127.0.0.1:{free_port()}")
    run = tracking.open(
        RunStart(name="x", kind="job", folder=tmp_path, parent_run_id="p", run_id="r1", tags={"resumed": "1"})
    )
    kept = (tmp_path / "tracking_journal/r1.jsonl").read_text()
    assert run.run_id == "r1"
    assert '"kind": "create"' not in kept
    assert '"resumed": "1"' in kept


def test_a_run_that_came_to_nothing_can_be_discarded(make, client, tmp_path, caplog):
    tracking = make()
    run = tracking.open(RunStart(name="x", kind="sweep", folder=tmp_path))
    run.close("FAILED")
    tracking.discard(run.run_id)
    assert client.get_run(run.run_id).info.lifecycle_stage == "deleted"
    tracking.discard("not-a-run")
    assert "not-a-run could not be deleted" in caplog.text


def test_bad_tags_are_refused_at_the_start(make, tmp_path):
    with pytest.raises(TrackingError, match="'a%' cannot name"):
        make().open(RunStart(name="x", kind="job", folder=tmp_path, tags={"a%": "1"}))


def test_an_empty_uri_means_the_local_store(make, client, tmp_path):
    run = make(uri="").open(RunStart(name="x", kind="job", folder=tmp_path))
    run.close("FINISHED")
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_metrics_are_sent_at_once_when_the_flush_time_is_zero(make, client, tmp_path):
    run = make(flush_seconds=0.0).open(RunStart(name="x", kind="job", folder=tmp_path))
    run.metrics({"a": 1.0})
    assert client.get_run(run.run_id).data.metrics == {"a": 1.0}
    run.close("FINISHED")
