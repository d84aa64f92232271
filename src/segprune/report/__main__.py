"""``python -m segprune.report <sweep folder>``: write a sweep's report again, without running anything."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from segprune.errors import SegpruneError
from segprune.report.write import write_report

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Write the report and return the exit code: 0, or 1 when the folder is no sweep."""
    parser = argparse.ArgumentParser(prog="python -m segprune.report", description=main.__doc__)
    parser.add_argument("sweep", type=Path, help="folder of the sweep: outputs/sweeps/<date>/<time>")
    parser.add_argument("--out", type=Path, help="folder for the report (default: the sweep's own)")
    options = parser.parse_args(arguments)
    try:
        written = write_report(options.sweep, "", options.out or options.sweep)
    except SegpruneError as error:
        sys.stderr.write(f"segprune: {error}\n")
        return 1
    log.info("%s and %d more files", written[0], len(written) - 1)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(main(sys.argv[1:]))
