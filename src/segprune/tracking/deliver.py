"""Turns a record into the call that sends it to MLflow."""

import json
from typing import Any

from segprune.tracking.record import Record


def deliver(client: Any, run_id: str, record: Record) -> None:
    """Send one record to a run, whichever run is active elsewhere in the process.

    Args:
        client: An ``MlflowClient``.
        run_id: The run.
        record: What to send.

    Raises:
        MlflowException: The store cannot or will not take it.
        OSError: The network, or the disk of the artifacts.
    """
    sender = {
        "params": _params,
        "metrics": _metrics,
        "tags": _tags,
        "artifact": _artifact,
        "dataset": _dataset,
        "end": _end,
    }[record.kind]
    sender(client, run_id, record.content)


def _params(client: Any, run_id: str, content: dict[str, Any]) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(name, value) for name, value in content.items()])


def _metrics(client: Any, run_id: str, content: dict[str, Any]) -> None:
    from mlflow.entities import Metric

    client.log_batch(run_id, metrics=[Metric(*point) for point in content["points"]])


def _tags(client: Any, run_id: str, content: dict[str, Any]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in content.items()])


def _artifact(client: Any, run_id: str, content: dict[str, Any]) -> None:
    client.log_artifact(run_id, content["path"], content["folder"] or None)


def _dataset(client: Any, run_id: str, content: dict[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=content["name"],
        digest=content["digest"],
        source_type="segprune",
        source=json.dumps({"dataset": content["name"]}),
        profile=json.dumps(content["profile"]),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", content["split"])])])


def _end(client: Any, run_id: str, content: dict[str, Any]) -> None:
    client.set_terminated(run_id, status=content["status"], end_time=content["time_ms"])
