"""``segprune report <sweep>``: write a sweep's report again, without running anything."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from segprune.console import command
from segprune.errors import SegpruneError
from segprune.report.collect import collect
from segprune.report.progress import progress
from segprune.report.tracked import sweep_folder
from segprune.report.write import write_report
from segprune.tracking.store import sqlite_uri

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Write the report and return the exit code: 0, or 1 when the folder is no sweep."""
    parser = argparse.ArgumentParser(prog="segprune report", description=main.__doc__)
    parser.add_argument(
        "sweep", help="folder of the sweep, outputs/sweeps/<date>/<time>, or the id of its run in MLflow"
    )
    outputs = Path(os.environ.get("SEGPRUNE_OUTPUTS", "outputs"))
    parser.add_argument(
        "--uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(outputs),
        help="where MLflow tracks",  # without the default, which may hold a password
    )
    parser.add_argument("--out", type=Path, help="folder for the report (default: the sweep's own)")
    options = parser.parse_args(arguments)
    try:
        folder = sweep_folder(options.sweep, options.uri)
        data = collect(folder)
        written = write_report(data, options.out or folder)
    except SegpruneError as error:
        sys.stderr.write(f"segprune: {error}\n")
        return 1
    for line in progress(data).lines:
        log.info("%s", line)
    log.info("%s and %d more files", written[0], len(written) - 1)
    return 0


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
