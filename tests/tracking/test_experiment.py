from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException

from segprune.errors import TrackingError
from segprune.tracking.experiment import artifact_location, ensure_experiment
from segprune.tracking.store import open_client, sqlite_uri


def test_it_is_made_once_with_its_files_beside_the_database(make, root):
    client, uri, name = open_client(sqlite_uri(root)), sqlite_uri(root), make().experiment
    first = ensure_experiment(client, uri, name)
    assert ensure_experiment(client, uri, name) == first
    experiment = client.get_experiment(first)
    assert experiment.artifact_location == f"file://{root}/mlartifacts/{name}"
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_server_chooses_the_place_itself():
    assert artifact_location("http://host:5000", "x") is None


class Racing:
    """Another process makes the experiment between our look and our attempt."""

    def __init__(self, found):
        self.answers = [None, found]

    def get_experiment_by_name(self, name):
        return self.answers.pop(0)

    def create_experiment(self, *arguments, **options):
        raise MlflowException("already exists")


def test_another_process_may_make_it_at_the_same_moment():
    found = SimpleNamespace(experiment_id="7", lifecycle_stage="active", artifact_location="file:///a")
    assert ensure_experiment(Racing(found), "sqlite:////a/mlflow.db", "x") == "7"


def test_a_failure_to_make_it_is_not_hidden():
    with pytest.raises(MlflowException, match="already exists"):
        ensure_experiment(Racing(None), "sqlite:////a/mlflow.db", "x")


def test_a_deleted_one_is_told_with_the_command_that_restores_it(make, root):
    client, uri, name = open_client(sqlite_uri(root)), sqlite_uri(root), make().experiment
    number = ensure_experiment(client, uri, name)
    client.delete_experiment(number)
    with pytest.raises(TrackingError, match=rf"'{name}' was deleted; .*restore -x {number}"):
        ensure_experiment(client, uri, name)


def test_files_that_only_a_server_can_write_are_told_before_the_run(make, root):
    client, uri, name = open_client(sqlite_uri(root)), sqlite_uri(root), make().experiment
    client.create_experiment(name, "mlflow-artifacts:/7")
    with pytest.raises(TrackingError, match=rf"'{name}' was made through a server.*MLFLOW_TRACKING_URI"):
        ensure_experiment(client, uri, name)
