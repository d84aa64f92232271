import json

import pytest
from mlflow.exceptions import MlflowException

from segprune.tracking.deliver import batch, deliver
from segprune.tracking.record import Record


@pytest.fixture
def run_id(make, client):
    tracking = make()
    experiment_id = client.create_experiment(tracking.experiment, (tracking.root / "files").as_uri())
    return client.create_run(experiment_id).info.run_id


def metrics(*points):
    return Record(kind="metrics", content={"points": list(points)})


def test_each_kind_of_record_arrives_and_arrives_once_when_sent_twice(client, run_id, tmp_path):
    (tmp_path / "x.txt").write_text("x")
    records = [
        Record(kind="params", content={"ratio": "0.3"}),
        Record(kind="metrics", content={"points": [["a", 1.0, 10, 0], ["a", 2.0, 20, 1]]}),
        Record(kind="tags", content={"kind": "job"}),
        Record(kind="artifact", content={"path": "x.txt", "folder": "eval"}),
        Record(
            kind="dataset",
            content={"name": "streets", "digest": "01234567", "split": "train", "profile": {"classes": "11"}},
        ),
        Record(kind="end", content={"status": "KILLED", "time_ms": 1234}),
    ]
    for record in records * 2:
        deliver(client, run_id, [record], tmp_path)
    run = client.get_run(run_id)
    assert run.data.params == {"ratio": "0.3"}
    history = client.get_metric_history(run_id, "a")
    assert [(point.value, point.timestamp, point.step) for point in history] == [(1.0, 10, 0), (2.0, 20, 1)]
    assert run.data.tags["kind"] == "job"
    assert [file.path for file in client.list_artifacts(run_id, "eval")] == ["eval/x.txt"]
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("streets", "01234567")
    assert json.loads(used.dataset.profile) == {"classes": "11"}
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "train")]
    assert (run.info.status, run.info.end_time) == ("KILLED", 1234)


def test_numbers_that_are_not_finite_arrive(client, run_id, tmp_path):
    deliver(client, run_id, [metrics(["nan", float("nan"), 10, 0], ["inf", float("inf"), 10, 0])], tmp_path)
    found = client.get_run(run_id).data.metrics
    assert found["nan"] != found["nan"]
    assert found["inf"] > 1e308


def test_a_changed_param_is_the_stores_error(client, run_id, tmp_path):
    deliver(client, run_id, [Record(kind="params", content={"ratio": "0.3"})], tmp_path)
    with pytest.raises(MlflowException, match=r"ratio"):
        deliver(client, run_id, [Record(kind="params", content={"ratio": "0.5"})], tmp_path)


def test_metrics_that_were_sent_in_other_batches_arrive_once(client, run_id, tmp_path):
    first, second, third = (
        metrics(["a", float(step), 10, step], ["nan", float("nan"), 10, step]) for step in range(3)
    )
    for records in ([first], [first, second], [second, third], [first, second, third]):
        deliver(client, run_id, records, tmp_path)
    for name in ("a", "nan"):
        assert [point.step for point in client.get_metric_history(run_id, name)] == [0, 1, 2]


def test_one_request_carries_metrics_as_long_as_nothing_else_comes_and_1000_at_most():
    small, large = metrics(*[["a", 1.0, 10, 0]] * 400), metrics(*[["a", 1.0, 10, 0]] * 1000)
    params = Record(kind="params", content={"a": "1"})
    assert batch([small, small, params, small]) == [small, small]
    assert batch([small, small, small]) == [small, small]
    assert batch([large, small]) == [large]
    assert batch([params, params]) == [params]
    assert batch([params, small]) == [params]
