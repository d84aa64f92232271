"""A sweep that is left to a queue: a last job repeats the command when all are over, and tells how they ended."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from segprune.config.spelled import override

VARIABLE = "SEGPRUNE_LATER"


@dataclass(frozen=True)
class Later:
    """What the last job is told.

    Attributes:
        run_id: The sweep's tracked run; empty: there is none.
        jobs: Number of a job -> its name in the queue.
    """

    run_id: str
    jobs: dict[int, str]

    def variable(self) -> dict[str, str]:
        """The environment variable that tells it."""
        jobs = {str(number): name for number, name in self.jobs.items()}
        return {VARIABLE: json.dumps({"run_id": self.run_id, "jobs": jobs})}


def told() -> Later | None:
    """What this process was told; None: it is no such job."""
    if VARIABLE not in os.environ:
        return None
    values = json.loads(os.environ[VARIABLE])
    return Later(values["run_id"], {int(number): name for number, name in values["jobs"].items()})


def command(folder: Path) -> list[str]:
    """This process's own command, for the same folder of the sweep."""
    return [
        sys.executable,
        os.path.abspath(sys.argv[0]),
        *sys.argv[1:],
        override("hydra.sweep.dir", str(folder.absolute())),
    ]
