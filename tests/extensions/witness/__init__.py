"""MLflow tracking that also writes down, beside each run, every metric it was given, to be compared afterwards."""

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from segprune.tracking.contract import RunStart
from segprune.tracking.mlflow_run import MlflowRun
from segprune.tracking.mlflow_tracker import MlflowTracking

SENT = "sent.jsonl"
Points = Counter[tuple[str, str, int]]
"""Name, value spelled out and step of every point; more than 1: it is there so many times."""


@dataclass(frozen=True, kw_only=True)
class Witness(MlflowTracking):
    """Named on the command line by the tests of sweeps."""

    def open(self, start: RunStart, /) -> MlflowRun:
        """A run that keeps its own list of what goes through it."""
        run = super().open(start)
        send = run.metrics

        def metrics(values: Mapping[str, float], /, *, step: int | None = None) -> None:
            with (start.folder / SENT).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps([name, value, step or 0]) + "\n" for name, value in values.items())
            send(values, step=step)

        run.metrics = metrics  # type: ignore[method-assign]
        return run


def sent(folder: Path) -> Points:
    """What the run of this folder was to send."""
    lines = (folder / SENT).read_text(encoding="utf-8").splitlines()
    return Counter((name, repr(float(value)), step) for name, value, step in map(json.loads, lines))


def stored(database: Path, run_id: str) -> Points:
    """What the store holds of a run; read past MLflow, which would show one of two equal points."""
    query = "select key, value, is_nan, step from metrics where run_uuid = ?"
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(query, [run_id]).fetchall()
    return Counter((key, repr(math.nan if is_nan else value), step) for key, value, is_nan, step in rows)
