"""Where the checkpoint is that a key such as ``checkpoint`` names: a folder, a run, or the last run."""

import difflib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from segprune import status
from segprune.checkpoint.contract import DESCRIPTION, WEIGHTS
from segprune.errors import CheckpointError
from segprune.predict.predictor import network_folder
from segprune.tracking.failure import failures
from segprune.tracking.store import open_client, sqlite_uri, store_error

log = logging.getLogger(__name__)
LAST = "last"
RUN_ID = re.compile(r"[0-9a-f]{32}")
ARTIFACTS = "checkpoint"
"""Below it a tracked run has the files of its last network."""


def checkpoint_folder(key: str, which: Path, outputs: Path, uri: str | None) -> Path:
    """The folder of a checkpoint, whichever way it is named.

    Args:
        key: Which key names it, for messages.
        which: The folder of a checkpoint; of a run or of a job of a sweep; the name of a run, which means the
            newest one of that name; the id of a run in MLflow; or ``last``, the newest run that has a network.
        outputs: Where runs are.
        uri: Of MLflow; None: the file below ``outputs``.

    Raises:
        CheckpointError: Nothing is called so, or it has no network.
        TrackingError: MLflow cannot be reached, or has no such run.
    """
    text = str(which)
    if which.is_dir():
        return network_folder(which)
    if which.name != text or which.exists():  # whoever reads it tells what is wrong with it
        return which
    runs = list(_runs(outputs))
    if text == LAST:
        found = [folder for folder, _ in runs]
    elif RUN_ID.fullmatch(text):
        found = [folder for folder, said in runs if said.get("run_id") == text]
        if not found:
            return _downloaded(key, text, outputs, uri or sqlite_uri(outputs))
    else:
        found = [folder for folder, said in runs if said.get("name") == text]
    if not found:
        names = dict.fromkeys(str(said["name"]) for _, said in runs if "name" in said)
        raise CheckpointError(_nothing(key, text, outputs, list(names)))
    folder = network_folder(found[0])
    others = f", the newest of {len(found)}" if len(found) > 1 and text != LAST else ""
    log.info("%s=%s is %s, of the run in %s%s", key, text, folder, found[0], others)
    return folder


def _nothing(key: str, text: str, outputs: Path, names: list[str]) -> str:
    close = difflib.get_close_matches(text, names, n=1)
    hint = f" Did you mean {key}={close[0]}?" if close else ""
    known = f" Runs there are called {', '.join(names[:8])}." if names and not close else ""
    return (
        f"{key} is {text}, which is not a checkpoint: there is no such folder, and no finished run of that "
        f"name in {outputs}.{hint}{known} Give the folder of a checkpoint or a run, the name of a run, its id in "
        f"MLflow, or {LAST}."
    )


def _runs(outputs: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """Finished runs and jobs of finished sweeps that have a network, the newest first, with their status.

    Those of a sweep that is going on are left out: what its jobs start from must not depend on which ended last.
    """
    files = [path for room in ("runs", "sweeps") for path in (outputs / room).rglob(status.STATUS)]
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            said, of_sweep = status.read(path.parent), status.read(path.parent.parent)
        except ValueError:  # damaged; another run's trouble
            continue
        store, entries = Path(str(said.get("store", ""))), said.get("entries", ())
        is_over = said.get("status") == "done" and of_sweep.get("status") != "running"
        if is_over and any((store / entry / DESCRIPTION).exists() for entry in entries):
            yield path.parent, said


def _downloaded(key: str, run_id: str, outputs: Path, uri: str) -> Path:
    """The files that a tracked run has of its last network, in a folder of this machine."""
    folder = outputs / "cache" / "checkpoints" / run_id
    try:
        client = open_client(uri)
        held = {Path(file.path).name for file in client.list_artifacts(run_id, ARTIFACTS)}
        if not {DESCRIPTION, WEIGHTS} <= held:
            raise CheckpointError(
                f"{key} is {run_id}, a run in MLflow without a checkpoint: it did not finish, or had "
                "log_checkpoint=false. Give another run, or the folder of its checkpoint."
            )
        folder.mkdir(parents=True, exist_ok=True)
        found = Path(client.download_artifacts(run_id, ARTIFACTS, str(folder)))
    except failures() as error:
        raise store_error(error, uri) from error
    log.info("%s=%s was downloaded from MLflow to %s", key, run_id, found)
    return found
