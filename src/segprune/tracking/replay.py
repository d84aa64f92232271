"""Sends what earlier runs could not, because MLflow was out or their process was killed.

Run: ``segprune replay outputs``, with ``MLFLOW_TRACKING_USERNAME`` and the like as they
were during the runs.
"""

import argparse
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from segprune.errors import SegpruneError, TrackingError
from segprune.tracking.failure import UnreachableError
from segprune.tracking.journal import Journal, journals
from segprune.tracking.record import Record
from segprune.tracking.sender import Sender
from segprune.tracking.store import open_client, shown, sqlite_path

LOG = logging.getLogger(__name__)


def replay(folder: Path, uri: str | None) -> int:
    """Send all that waits in or below a folder to MLflows it was meant for, and end the runs that died.

    A store that fails is told and asked once; a journal that cannot be read is told. One that another process has
    open, or that is another user's, is left to them.

    Args:
        folder: A run's output folder, or any folder above it.
        uri: MLflow's URI if it carries a user name and password, which are not kept on disk; or where the SQLite
            store is now, if it was moved.

    Returns:
        How many records still wait.
    """
    waiting, failed = 0, set[str]()
    for path in journals(folder):
        try:
            journal = Journal(path)
        except (TrackingError, PermissionError):
            continue
        except OSError as error:
            LOG.warning("%s cannot be read: %s", path, error)
            waiting += 1
            continue
        if journal.last_kind not in ("", "end"):
            journal.add([Record(kind="end", content={"status": "KILLED", "time_ms": journal.last_ms})])
        target = _target(journal.uri, uri)
        sender = Sender(journal=journal, connect=partial(_open, target), uri=target, flush_seconds=0)
        try:
            if target not in failed:
                sender.send()
        except SegpruneError as error:
            LOG.warning("%d tracking records wait in %s: %s", len(journal.waiting), path, error)
            if isinstance(error, UnreachableError):
                failed.add(target)
        waiting += len(journal.waiting)
        journal.close()
    return waiting


def _target(kept: str, uri: str | None) -> str:
    is_its = uri and shown(uri) == kept
    return uri if uri and (is_its or (_is_gone(kept) and sqlite_path(uri) and not _is_gone(uri))) else kept


def _is_gone(uri: str) -> bool:
    path = sqlite_path(uri)
    return path is not None and not path.exists()


def _open(uri: str) -> Any:
    if _is_gone(uri):  # and would be made anew, empty
        raise UnreachableError(
            f"{uri} does not exist; if it was moved, give its place: MLFLOW_TRACKING_URI=sqlite:////..."
        )
    return open_client(uri)


def main(arguments: list[str]) -> int:
    """Exit code 0: nothing waits any more; 1: something does."""
    parser = argparse.ArgumentParser(prog="segprune replay", description="Send what earlier runs could not.")
    parser.add_argument("folder", type=Path, help="a run's output folder, or any folder above it")
    folder = parser.parse_args(arguments).folder
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    waiting = replay(folder, os.environ.get("MLFLOW_TRACKING_URI"))
    LOG.info("%d tracking records still wait below %s.", waiting, folder)
    return 1 if waiting else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
