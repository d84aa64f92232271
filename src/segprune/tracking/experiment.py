"""Finds or creates the experiment that runs are tracked in."""

from typing import Any

from segprune.errors import TrackingError
from segprune.tracking.failure import failures
from segprune.tracking.store import artifact_root, is_http, sqlite_path

# Says to the UI that this is about trained models, so that it opens on the runs and not on language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


def ensure_experiment(client: Any, uri: str, name: str) -> str:
    """Id of the experiment, created if missing, also if another process creates it at the same moment.

    Raises:
        TrackingError: It was deleted, or its files are out of reach from here.
        MlflowException: MLflow fails.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location(uri, name), tags=EXPERIMENT_TAGS))
        except failures():
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment {name!r} was deleted; restore it with `mlflow experiments restore -x "
            f"{found.experiment_id}`, or give another tracking.experiment"
        )
    if found.artifact_location.startswith("mlflow-artifacts:") and not is_http(uri):
        raise TrackingError(
            f"the MLflow experiment {name!r} was made through a server, and its files can only be written "
            "through it; set MLFLOW_TRACKING_URI to that server, or give another tracking.experiment"
        )
    return str(found.experiment_id)


def artifact_location(uri: str, name: str) -> str | None:
    """Where a new experiment's files go; ``None`` leaves it to the server."""
    path = sqlite_path(uri)
    return None if path is None else (artifact_root(path) / name).as_uri()
