"""Begins a run in MLflow, at once or when an outage is over, and once only."""

import time
import uuid
from typing import Any

from segprune.errors import TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.experiment import ensure_experiment
from segprune.tracking.provenance import provenance
from segprune.tracking.record import NOTE_TAG, TAG_CHARACTERS, Record, checked_name, clipped
from segprune.tracking.search import runs_where
from segprune.tracking.secrets import redacted
from segprune.tracking.views import ensure_views

# Drawn here and not by MLflow: it names a run that has no id yet, and finds it if the answer to its creation
# was lost.
KEY_TAG = "segprune.key"
_UNSENT = "unsent-"


def new_key() -> str:
    """The name of a run until MLflow has given it an id."""
    return f"{_UNSENT}{uuid.uuid4().hex}"


def beginning(start: RunStart, key: str, experiment: str) -> Record:
    """The record that creates a run, or that sets an interrupted one running again.

    Raises:
        TrackingError: MLflow would refuse the name of a tag.
    """
    return Record(
        kind="continue" if start.run_id else "create",
        content={
            "experiment": experiment,
            "name": redacted(start.name),
            "tags": start_tags(start) | ({} if start.run_id else {KEY_TAG: key}),
            "time_ms": int(time.time() * 1000),
        },
    )


def start_tags(start: RunStart) -> dict[str, str]:
    """All tags a run starts with: where it comes from, what MLflow shows, what the caller gave.

    Raises:
        TrackingError: MLflow would refuse the name of a tag.
    """
    optional = {
        "mlflow.parentRunId": start.parent_run_id,
        "mlflow.runColor": start.color,
        NOTE_TAG: start.note or None,
    }
    given = {name: value for name, value in optional.items() if value is not None}
    tags = provenance() | {"kind": start.kind} | given | dict(start.tags)
    return {checked_name(name): clipped(redacted(value), TAG_CHARACTERS) for name, value in tags.items()}


def begin(client: Any, uri: str, name: str, record: Record, *, is_first_try: bool) -> tuple[str, str]:
    """Make sure that a run is in MLflow: find it, create it, or set it running again.

    Args:
        client: An ``MlflowClient``.
        uri: Of MLflow.
        name: The run's id, or its key.
        record: The first record that waits for it.
        is_first_try: Whether a run with a key cannot be there yet, so that it is not looked for.

    Returns:
        The ids of the experiment and the run.

    Raises:
        TrackingError: The experiment or the run is not there or not in a usable state.
        MlflowException: MLflow fails.
    """
    content = record.content
    run = None if is_first_try else _find(client, name)
    if run is None and record.kind == "create":
        experiment_id = ensure_experiment(client, uri, content["experiment"])
        ensure_views(client, experiment_id)
        run = client.create_run(experiment_id, content["time_ms"], content["tags"], content["name"])
    if run is None:
        raise TrackingError(f"the run {name} is not in MLflow at this time")
    if record.kind == "continue":
        ensure_experiment(client, uri, content["experiment"])
        require_active(run)
        client.update_run(name, status="RUNNING", name=content["name"])
        for tag, value in content["tags"].items():
            client.set_tag(name, tag, value)
    return str(run.info.experiment_id), str(run.info.run_id)


def require_active(run: Any) -> None:
    """Check that a run was not deleted.

    Raises:
        TrackingError: It was.
    """
    if run.info.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow run {run.info.run_id} was deleted; restore it in the MLflow UI or with `mlflow runs "
            f"restore --run-id {run.info.run_id}`"
        )


def _find(client: Any, name: str) -> Any:
    """The run of this id or created with this key, also if it was deleted since; ``None``: there is none."""
    if not name.startswith(_UNSENT):
        return client.get_run(name)
    found = runs_where(client, f"tags.`{KEY_TAG}` = '{name}'", is_deleted_too=True)
    return found[0] if found else None
