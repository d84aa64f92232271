"""Creates a run in the store, at once or when an outage is over, and once only."""

import time
import uuid
from typing import Any

from segprune.tracking.contract import RunStart
from segprune.tracking.experiment import ensure_experiment
from segprune.tracking.provenance import provenance
from segprune.tracking.record import NOTE_TAG, TAG_CHARACTERS, Record, checked_name, clipped
from segprune.tracking.search import runs_where
from segprune.tracking.secrets import redacted
from segprune.tracking.views import ensure_views

# Made here and not by the store: by it a run is known before it has an id, and found when the answer to its
# creation was lost.
KEY_TAG = "segprune.key"
_UNSENT = "unsent-"


def creation(start: RunStart, experiment: str) -> Record:
    """The record that creates a run.

    Raises:
        TrackingError: The store would refuse the name of a tag.
    """
    content = {
        "experiment": experiment,
        "name": redacted(start.name),
        "tags": start_tags(start) | {KEY_TAG: f"{_UNSENT}{uuid.uuid4().hex}"},
        "time_ms": int(time.time() * 1000),
    }
    return Record(kind="create", content=content)


def start_tags(start: RunStart) -> dict[str, str]:
    """All tags a run starts with: where it comes from, what MLflow shows, what the caller gave.

    Raises:
        TrackingError: The store would refuse the name of a tag.
    """
    optional = {
        "mlflow.parentRunId": start.parent_run_id,
        "mlflow.runColor": start.color,
        NOTE_TAG: start.note or None,
    }
    given = {name: value for name, value in optional.items() if value is not None}
    tags = provenance() | {"kind": start.kind} | given | dict(start.tags)
    return {checked_name(name): clipped(redacted(value), TAG_CHARACTERS) for name, value in tags.items()}


def key_of(record: Record) -> str:
    """The key of the run that a record creates."""
    return str(record.content["tags"][KEY_TAG])


def is_key(name: str) -> bool:
    """Whether this is the key of a run rather than the id the store gave it."""
    return name.startswith(_UNSENT)


def create(client: Any, uri: str, record: Record) -> tuple[str, str]:
    """Create the run, and its experiment if missing.

    Returns:
        The ids of the experiment and the run.

    Raises:
        TrackingError: The experiment is not in a usable state.
        MlflowException: The store fails.
    """
    content = record.content
    experiment_id = ensure_experiment(client, uri, content["experiment"])
    ensure_views(client, experiment_id)
    run = client.create_run(experiment_id, content["time_ms"], content["tags"], content["name"])
    return experiment_id, str(run.info.run_id)


def find(client: Any, key: str) -> str | None:
    """Id of the run that was created with this key, also if it was deleted since; ``None``: there is none.

    Raises:
        MlflowException: The store fails.
    """
    found = runs_where(client, f"tags.`{KEY_TAG}` = '{key}'", is_deleted_too=True)
    return str(found[0].info.run_id) if found else None
