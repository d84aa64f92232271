"""Sends what a tracking outage left below an output folder.

Run: ``python -m segprune.tracking.replay outputs``, with ``MLFLOW_TRACKING_USERNAME`` and the like as they
were during the runs.
"""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from segprune.errors import SegpruneError
from segprune.tracking.later import Later
from segprune.tracking.outbox import Outbox
from segprune.tracking.spool import FOLDER, Spool, spools
from segprune.tracking.store import open_client, shown

LOG = logging.getLogger(__name__)


def replay(folder: Path, uri: str | None) -> int:
    """Send all that waits in or below a folder to the stores it was meant for.

    Args:
        folder: A run's output folder, or any folder above it.
        uri: The store's URI if it carries a user name and password: they are not kept on disk.

    Returns:
        How many records still wait.

    Raises:
        TrackingError: A store cannot be reached or refuses the caller.
    """
    waiting = 0
    for spool in [spool for kept in sorted(folder.rglob(FOLDER)) for spool in spools(kept.parent)]:
        target = uri if uri and shown(uri) == spool.uri else spool.uri
        client = open_client(target)
        outbox = Outbox(deliver=_sender(client, target, spool), spool=spool, flush_seconds=0)
        waiting += outbox.flush(is_last=True)
    return waiting


def _sender(client: Any, uri: str, spool: Spool) -> Later:
    return Later(connect=lambda: client, uri=uri, name=spool.run_id)


def main(arguments: list[str]) -> int:
    """Exit code 0: nothing waits any more; 1: something does."""
    parser = argparse.ArgumentParser(
        prog="segprune replay", description="Send what a tracking outage left below an output folder."
    )
    parser.add_argument("folder", type=Path, help="a run's output folder, or any folder above it")
    folder = parser.parse_args(arguments).folder
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        waiting = replay(folder, os.environ.get("MLFLOW_TRACKING_URI"))
    except SegpruneError as error:
        LOG.error("%s", error)
        return 1
    LOG.info("%d tracking records still wait below %s.", waiting, folder)
    return 1 if waiting else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
