"""``python run.py ...`` in this process: its exit code, what it said and what it left."""

import io
import logging
import os
import re
import runpy
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from tests.quick_hydra import without_asking_the_mode

ROOT = Path(__file__).parent.parent
MOST_LINES, MOST_CHARACTERS = 4, 900
INSIDES = re.compile(
    r"Traceback|pydantic|[Oo]mega[Cc]onf|object_type|full_key|<class|sqlalchemy|\w+Exception\b"
    r"|\b(Validation|Operational|Config\w+|ModuleNotFound)Error\b"
)
"""What only somebody who reads this program's source could make sense of."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    error: str


def run_here(outputs: Path, *arguments: str) -> Ended:
    """Run the command and leave this process as it was."""
    out, error = io.StringIO(), io.StringIO()
    with (
        _left_as_it_was(),
        without_asking_the_mode(),
        patch.dict(os.environ, {"SEGPRUNE_OUTPUTS": str(outputs), "MLFLOW_TRACKING_URI": ""}),
        patch.object(sys, "argv", [str(ROOT / "run.py"), *arguments]),
        redirect_stdout(out),
        redirect_stderr(error),
    ):
        try:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code=code, out=out.getvalue(), error=error.getvalue())


def refused(outputs: Path, *arguments: str) -> str:
    """What a command that must not start says: one paragraph; nothing is trained and no run left open."""
    ended = run_here(outputs, *arguments)
    assert_is_paragraph(ended)
    assert not list((outputs / "store").glob("train/*"))
    assert "RUNNING" not in tracked(outputs)
    return ended.error


def assert_is_paragraph(ended: Ended) -> None:
    """Exit code 1, and a few lines without anything of the program's insides."""
    assert ended.code == 1, ended
    assert ended.error.startswith("\nsegprune: "), ended.error
    assert_is_one_paragraph(ended.error.strip())
    assert "Traceback" not in ended.out, ended.out


def assert_is_one_paragraph(said: str) -> None:
    """A few lines about the command, none about the program."""
    assert len(said.splitlines()) <= MOST_LINES, said
    assert len(said) <= MOST_CHARACTERS, said
    assert not INSIDES.search(said), said


def tracked(outputs: Path) -> list[str]:
    """What MLflow shows of every run, in their order."""
    path = outputs / "mlflow.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("select status from runs order by start_time").fetchall()
    return [status for (status,) in found]


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Hydra takes over the root logger and has a state of its own; the command takes over SIGTERM."""
    logger, on_terminate = logging.getLogger(), signal.getsignal(signal.SIGTERM)
    handlers, level = logger.handlers[:], logger.level
    try:
        yield
    finally:
        for handler in set(logger.handlers) - set(handlers):
            handler.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)
        signal.signal(signal.SIGTERM, on_terminate)
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
