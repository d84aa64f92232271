import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from segprune.tracking.contract import RunStart
from segprune.tracking.creation import creation, find, key_of
from segprune.tracking.failure import UnreachableError
from segprune.tracking.later import Later
from segprune.tracking.record import Record
from segprune.tracking.store import sqlite_uri

PARAMS = Record(kind="params", content={"ratio": "0.3"})


@pytest.fixture
def first(make, tmp_path):
    return creation(RunStart(name="x", kind="job", folder=tmp_path), make().experiment)


def sender(client, root, name):
    return Later(connect=lambda: client, uri=sqlite_uri(root), name=name)


def test_a_creation_that_is_sent_twice_creates_once_and_others_find_it(client, root, first):
    for _ in range(2):  # each with a fresh sender, as after a crash
        later = sender(client, root, key_of(first))
        later(first)
        later(first)
        later(PARAMS)
    experiment = client.get_experiment_by_name(first.content["experiment"])
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params == {"ratio": "0.3"}
    sender(client, root, key_of(first))(Record(kind="tags", content={"a": "b"}))
    assert client.get_run(run.info.run_id).data.tags["a"] == "b"


def test_a_run_with_an_id_needs_no_creation(client, root, first):
    later = sender(client, root, key_of(first))
    later(first)
    run_id = find(client, key_of(first))
    sender(client, root, run_id)(PARAMS)
    assert client.get_run(run_id).data.params == {"ratio": "0.3"}


def test_without_its_creation_a_record_waits(client, root, first):
    with pytest.raises(ConnectionError, match=f"{key_of(first)} is not in the store"):
        sender(client, root, key_of(first))(PARAMS)


@pytest.mark.parametrize(
    "error", [UnreachableError("out"), OSError("out"), MlflowException("out", INVALID_PARAMETER_VALUE)]
)
def test_a_creation_always_waits_and_is_never_refused(root, first, error):
    def fail():
        raise error

    with pytest.raises(ConnectionError, match="out"):
        Later(connect=fail, uri=sqlite_uri(root), name=key_of(first))(first)


def test_what_the_store_refuses_of_a_created_run_is_refused(client, root, first):
    later = sender(client, root, key_of(first))
    later(first)
    later(PARAMS)
    with pytest.raises(MlflowException, match="ratio"):
        later(Record(kind="params", content={"ratio": "0.5"}))
