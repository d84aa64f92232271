import os
from pathlib import Path

import pytest

from segprune import status
from segprune.checkpoint.contract import ANCESTRY, DESCRIPTION, WEIGHTS
from segprune.errors import CheckpointError
from segprune.run.place import checkpoint_folder
from segprune.tracking.contract import RunStart
from segprune.tracking.mlflow_tracker import MlflowTracking

IDS = ["a" * 32, "b" * 32, "c" * 32]


def finished(outputs: Path, number: int, name: str, *entries: str, ended: str = "done") -> Path:
    """A run that used entries of the store, later than those of smaller numbers."""
    folder = outputs / "runs" / "day" / str(number)
    folder.mkdir(parents=True)
    for entry in entries:
        (outputs / "store" / entry).mkdir(parents=True, exist_ok=True)
        (outputs / "store" / entry / DESCRIPTION).touch()
    said = {"status": ended, "name": name, "run_id": IDS[number], "store": str(outputs / "store")}
    status.write(folder, {**said, "entries": [*entries, "eval/x"]})
    os.utime(folder / status.STATUS, (number, number))
    return folder


def test_a_checkpoint_can_be_named_in_every_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    first = finished(tmp_path, 0, "dense-s0", "train/1")
    finished(tmp_path, 1, "l1-r0.3-s0", "train/1", "prune/2")
    finished(tmp_path, 2, "l1-r0.3-s0", "train/1", "prune/3", ended="killed")
    store = tmp_path / "store"
    for which, entry in {
        str(store / "prune/2"): "prune/2",
        str(first): "train/1",
        "dense-s0": "train/1",
        "l1-r0.3-s0": "prune/2",
        IDS[0]: "train/1",
        "last": "prune/2",
    }.items():
        assert checkpoint_folder("checkpoint", Path(which), tmp_path, None) == store / entry
    assert caplog.messages[-1].startswith(f"checkpoint=last is {store / 'prune/2'}, of the run in ")


def test_jobs_of_a_sweep_that_is_going_on_are_not_the_last_run(tmp_path: Path) -> None:
    finished(tmp_path, 0, "dense-s0", "train/1")
    job = finished(tmp_path, 1, "l1-r0.3-s0", "train/1", "prune/2")
    sweep = tmp_path / "sweeps" / "day" / "time"
    sweep.mkdir(parents=True)
    job.rename(sweep / "0")
    for ended, entry in (("running", "train/1"), ("done", "prune/2")):
        status.write(sweep, {"status": ended})
        assert checkpoint_folder("checkpoint", Path("last"), tmp_path, None) == tmp_path / "store" / entry


def test_what_nothing_is_called_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint is last, which is not a checkpoint: there is no"):
        checkpoint_folder("checkpoint", Path("last"), tmp_path, None)
    finished(tmp_path, 0, "dense-s0", "train/1")
    with pytest.raises(
        CheckpointError, match=r"Did you mean checkpoint=dense-s0\?.*its id in MLflow, or last"
    ):
        checkpoint_folder("checkpoint", Path("dens-s0"), tmp_path, None)
    absent = Path("/no/such/folder")  # told by who reads it
    assert checkpoint_folder("checkpoint", absent, tmp_path, None) == absent


@pytest.mark.slow
def test_a_checkpoint_that_is_in_mlflow_alone_is_downloaded(tmp_path: Path) -> None:
    tracking = MlflowTracking(uri=None, root=tmp_path, experiment="e", flush_seconds=0)
    ids = []
    for files in ((DESCRIPTION, WEIGHTS, ANCESTRY), ()):
        folder = tmp_path / "runs" / str(len(files))
        folder.mkdir(parents=True)
        run = tracking.open(RunStart(name="r", kind="job", folder=folder))
        for name in files:
            (tmp_path / name).write_text(name)
            run.file(tmp_path / name, "checkpoint")
        run.close("FINISHED")
        ids.append(run.run_id)
    found = checkpoint_folder("checkpoint", Path(ids[0]), tmp_path, None)
    assert {path.name: path.read_text() for path in found.iterdir()} == {
        name: name for name in (DESCRIPTION, WEIGHTS, ANCESTRY)
    }
    with pytest.raises(CheckpointError, match="a run in MLflow without a checkpoint"):
        checkpoint_folder("checkpoint", Path(ids[1]), tmp_path, None)
