"""A small job as a sweep logs it, and what must be found back in the store."""

import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from segprune.tracking.contract import RunStart
from segprune.tracking.views import VERSION_TAG


def log_a_job(tracking, folder, parent_run_id):
    """What a job of a sweep logs, in small."""
    start = RunStart(
        name="sirfp-r0.3",
        kind="job",
        folder=folder,
        tags={"fingerprint": "abc"},
        note="**70.1** mIoU",
        color="#112233",
        parent_run_id=parent_run_id,
    )
    run = tracking.open(start)
    run.params({"pruner.name": "sirfp", "ratio": 0.3, "seed": None})
    for epoch in range(3):
        run.metrics({"finetune/loss": 1.0 / (epoch + 1)}, step=epoch)
    run.metrics({"eval/miou": 70.12})
    run.text('{"a": 1}', "eval/metrics.json")
    figure = plt.figure()
    run.figure(figure, "eval/confusion.png")
    plt.close(figure)
    run.dataset(name="streets", digest="0123456789", split="train", profile={"classes": 11})
    run.tags({"stage": "eval"})
    run.close("FINISHED")
    return run


def left_alone(run):
    """Let go of the run's journal, as the system does for a process that was killed."""
    run.sender.journal._lock.release()


def assert_the_job_is_there(client, run_id, parent_run_id):
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "sirfp-r0.3"
    assert run.data.params == {"pruner.name": "sirfp", "ratio": "0.3", "seed": "null"}
    history = sorted(client.get_metric_history(run_id, "finetune/loss"), key=lambda point: point.step)
    assert [(point.step, point.value) for point in history] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert run.data.metrics["eval/miou"] == 70.12
    expected = {
        "mlflow.parentRunId": parent_run_id, "kind": "job", "fingerprint": "abc", "stage": "eval",
        "mlflow.runColor": "#112233", "mlflow.note.content": "**70.1** mIoU", "pid": str(os.getpid()),
    }  # fmt: skip
    assert {name: run.data.tags[name] for name in expected} == expected
    assert {"host", "mlflow.user", "mlflow.source.name"} <= set(run.data.tags)
    files = {file.path for file in client.list_artifacts(run_id, "eval")}
    assert files == {"eval/metrics.json", "eval/confusion.png"}
    assert [used.dataset.name for used in run.inputs.dataset_inputs] == ["streets"]
    assert VERSION_TAG in client.get_experiment(run.info.experiment_id).tags
