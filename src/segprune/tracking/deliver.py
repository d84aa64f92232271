"""Turns records into the call that sends them to MLflow."""

import json
from collections.abc import Sequence
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from segprune.tracking.record import METRICS_PER_RECORD, Record


def batch(records: Sequence[Record]) -> list[Record]:
    """The first records that one request takes: a single one, or metrics as long as nothing else comes."""
    metrics = takewhile(lambda record: record.kind == "metrics", records)
    points = accumulate(len(record.content["points"]) for record in metrics)
    count = sum(1 for _ in takewhile(lambda so_far: so_far <= METRICS_PER_RECORD, points))
    return list(records[: max(1, count)])


def deliver(client: Any, run_id: str, records: Sequence[Record], folder: Path) -> None:
    """Send a batch to a run, whichever run is active elsewhere in the process; its beginning is ``creation``'s.

    Args:
        client: An ``MlflowClient``.
        run_id: The run.
        records: What to send, see ``batch``.
        folder: Where the paths of artifacts begin.

    Raises:
        MlflowException: MLflow cannot or will not take it.
        OSError: The network, or the disk of the artifacts.
    """
    from mlflow.entities import Metric, Param, RunTag

    content = records[0].content
    match records[0].kind:
        case "params":
            client.log_batch(run_id, params=[Param(*param) for param in content.items()])
        case "metrics":
            points = [point for record in records for point in record.content["points"]]
            client.log_batch(run_id, metrics=[Metric(*point) for point in points])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(*tag) for tag in content.items()])
        case "artifact":
            client.log_artifact(run_id, str(folder / content["path"]), content["folder"] or None)
        case "dataset":
            _log_dataset(client, run_id, content)
        case "end":
            client.set_terminated(run_id, status=content["status"], end_time=content["time_ms"])


def _log_dataset(client: Any, run_id: str, content: dict[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=content["name"],
        digest=content["digest"],
        source_type="segprune",
        source=json.dumps({"dataset": content["name"]}),
        profile=json.dumps(content["profile"]),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", content["split"])])])
