"""A job in a process of its own is a single run of the same script, with all that its sweep has settled."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from segprune.config.compose import typed
from segprune.config.places import flags_of

VARIABLE = "SEGPRUNE_JOB"
_handed: dict[str, Any] = {}
"""What was handed over to this process; empty unless it runs a job."""


def command(sweep: DictConfig, number: int, overrides: Sequence[str], folder: Path) -> list[str]:
    """The command of one job.

    Args:
        sweep: The configuration of the whole sweep, with Hydra's node.
        number: Of the job.
        overrides: Of the job.
        folder: Of the job.
    """
    hydra = sweep.hydra
    folders = {"hydra.run.dir": folder, "hydra.sweep.dir": hydra.sweep.dir}
    return [
        *(sys.executable, os.path.abspath(sys.argv[0])),
        *(f"{flag}={value}" for flag, value in flags_of(hydra).items()),
        *(*typed(hydra.overrides.hydra), *overrides),
        *(f"{key}={QuotedString(str(value), Quote.single).with_quotes()}" for key, value in folders.items()),
        *(f"hydra.job.num={number}", f"hydra.job.id={number}", "hydra.mode=RUN"),
    ]


def hand_over(sweep: DictConfig, *, grace_s: float | None) -> dict[str, str]:
    """The environment variable that makes a run a job of a sweep.

    Args:
        sweep: The configuration of the whole sweep, with Hydra's node.
        grace_s: How long the job may take to end when its parent is gone; None: it goes on without one.
    """
    now = [[list(pattern), text] for pattern, text in OmegaConf.get_cache(sweep)["now"].items()]
    return {VARIABLE: json.dumps({"now": now, "grace_s": grace_s})}


def take_over() -> None:
    """Take what was handed over to this process, if anything was; it then ends when its parent does, if so said."""
    if VARIABLE not in os.environ:
        return
    _handed.update(json.loads(os.environ.pop(VARIABLE)))
    if _handed["grace_s"] is not None:
        threading.Thread(target=_end_with_parent, args=[_handed["grace_s"]], daemon=True).start()


def is_job() -> bool:
    """Whether this process runs one job of a sweep."""
    return bool(_handed)


def keep_time(config: DictConfig) -> None:
    """Let ``${now:...}`` give to a job what it gave to its sweep."""
    OmegaConf.get_cache(config)["now"].update({tuple(pattern): text for pattern, text in _handed["now"]})


def _end_with_parent(grace_s: float) -> None:
    """Wait until the other end of standard input is closed, which the system does for a parent that was killed."""
    while os.read(0, 1):
        pass
    for _ in range(2):  # asked a second time, a job ends at once
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s / 2)
    os.killpg(0, signal.SIGKILL)
