"""``segprune reproduce <run>``: the command that repeats a run, and what has changed since.

The run is named by its folder (``outputs/runs/<date>/<time>``, ``outputs/sweeps/<date>/<time>/<job>``) or by its id
in MLflow. With ``--run`` the command is started, and its rows are compared with the recorded ones: bit for bit, or
on a GPU, whose sums have no fixed order, within 2 points of per cent and 10 % of other numbers.
"""

import argparse
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from segprune import console
from segprune.config.places import CONF, PLACES
from segprune.config.renamed import override_of_today
from segprune.errors import ConfigError, SegpruneError
from segprune.reproduce.differences import POINTS, SHARE, differences, row_differences
from segprune.reproduce.origin import ANEW
from segprune.reproduce.recorded import from_folder, from_mlflow
from segprune.tracking.store import sqlite_uri

log = logging.getLogger(__name__)
MACS_RATIO = "macs_ratio"
"""The key of such a budget."""
SEGPRUNE = (sys.executable, "-m", "segprune")


def main(arguments: Sequence[str]) -> int:
    """Print how to repeat a run, or repeat it; 0: printed, or repeated with equal rows; 1: neither."""
    options = _options(arguments)
    try:
        place = Path(options.which)
        recorded = from_folder(place) if place.is_dir() else from_mlflow(options.which, options.uri)
        folder = (options.out / f"{recorded.name}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
        origin = as_found(recorded.origin, recorded.macs_ratio)
        command = [*command_of(origin, folder), *options.overrides]
        found = changes(origin, command)
    except SegpruneError as error:
        sys.stderr.write(f"segprune: {error}\n")
        return 1
    log.info("%s", shlex.join(["segprune", *command]))
    for line in found:
        log.warning("differs: %s", line)
    if not found:
        log.info("code, packages, machine, configuration and data are as they were")
    if not options.run:
        return 0
    code = subprocess.call([*SEGPRUNE, *command])
    is_on_gpu = str(recorded.origin["device"]).startswith("cuda")
    return code or compared(
        recorded.rows,
        from_folder(folder / "run").rows,
        is_on_gpu=is_on_gpu,
        was_found=origin != recorded.origin,
    )


def as_found(made: Mapping[str, Any], macs_ratio: float | None) -> Mapping[str, Any]:
    """The record of a run whose budget searched by a clock as that of one which was given what was found.

    Another search may find another cut, on another machine above all.
    """
    budget = made["config"]["budget"] if macs_ratio is not None else {}
    if budget.get(MACS_RATIO, macs_ratio) == macs_ratio:
        return made
    given = {**budget, MACS_RATIO: macs_ratio}
    stages = {
        word: {**node, "budget": given} if node.get("budget") == budget else node
        for word, node in made["config"].get("stage", {}).items()
    }
    config = {**made["config"], "budget": given, "stage": stages}
    return {
        **made,
        "config": config,
        "overrides": [*made["overrides"], f"budget.{MACS_RATIO}={macs_ratio!r}"],
    }


def command_of(made: Mapping[str, Any], folder: Path) -> list[str]:
    """What to give to ``segprune`` to repeat a run, with a store of its own, so that all is computed again.

    Args:
        made: The run's origin.
        folder: Where the repetition goes.

    Raises:
        ConfigError: The record is not that of a command.
    """
    typed = list(map(override_of_today, made["overrides"]))
    if wrong := [override for override in typed if not re.match(r"(\+\+?|~)?\w", override)]:
        raise ConfigError(f"{wrong[0]!r} was recorded as an override and is none: the record is damaged.")
    places = made.get("places", [])  # earlier versions kept none
    if wrong := [one for one in places if not one.startswith(tuple(f"{key}=" for key in PLACES))]:
        raise ConfigError(f"{wrong[0]!r} was recorded as a place of configurations and is none.")
    kept = [override for override in typed if re.split(r"\W", override.lstrip("+~"))[0] not in ANEW]
    same = [f"device={made['device']}", f"threads={made['threads']}"]
    return ["run", *places, *kept, *same, f'store.root="{folder}/store"', f'hydra.run.dir="{folder}/run"']


def changes(made: Mapping[str, Any], command: Sequence[str]) -> list[str]:
    """What has changed since a run, see ``differences``.

    Args:
        made: The run's origin.
        command: What repeats it.

    Raises:
        SegpruneError: The command is not valid any more, or the data cannot be read; says where the run was
            started if not here.
    """
    sys.path.append(str(CONF.parent))  # run.py finds packages there
    try:
        return list(differences(made, composed(command)))
    except SegpruneError as error:
        folder = made["machine"]["folder"]
        if folder == os.getcwd():
            raise
        raise ConfigError(
            f"{error} Relative paths begin here, in {os.getcwd()}; the run was started in {folder}. Start this "
            "there, or give the present place behind it, as in dataset.root=/data."
        ) from error


def composed(command: Sequence[str]) -> dict[str, Any]:
    """The configuration that a command would run with.

    Raises:
        ConfigError: The command is not valid any more, or ``conf/`` is not there.
    """
    shown = [*SEGPRUNE, *command, "--cfg", "job", "--resolve"]
    done = subprocess.run(shown, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().rpartition("segprune: ")[2]
        raise ConfigError(f"the recorded command is not valid any more: {reason}")
    config: dict[str, Any] = yaml.safe_load(done.stdout)
    return config


def compared(
    then: Sequence[Mapping[str, Any]],
    now: Sequence[Mapping[str, Any]],
    *,
    is_on_gpu: bool = False,
    was_found: bool = False,
) -> int:
    """Print which values of the rows differ, on a GPU by more than they may; 1 if any does.

    Args:
        then: Recorded rows.
        now: Rows of the repetition.
        is_on_gpu: Whether it ran on a GPU.
        was_found: Whether the repetition was given what a search found, by which fingerprints differ.
    """
    without = ["fingerprint"] if was_found else []
    wrong = list(row_differences(then, now, is_on_gpu=is_on_gpu, without=without))
    same = "equal bit for bit"
    if is_on_gpu:
        same = f"equal within {POINTS:g} points of per cent and {100 * SHARE:g} % of other numbers"
    for line in wrong:
        log.error("differs: %s", line)
    if not then:
        log.warning("the run has no rows, so there is nothing to compare with")
    elif not wrong:
        log.info("repeated: all %d rows are %s, times left out", len(then), same)
    return 1 if wrong else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    outputs = Path(os.environ.get("SEGPRUNE_OUTPUTS", "outputs"))
    parser = argparse.ArgumentParser(prog="segprune reproduce", description=main.__doc__)
    parser.add_argument("which", help="folder of a run or of a job of a sweep, or the id of an MLflow run")
    parser.add_argument(
        "overrides", nargs="*", help="more overrides, e.g. the present place of the data: dataset.root=..."
    )
    parser.add_argument("--run", action="store_true", help="start the command and compare the rows")
    parser.add_argument(
        "--out", type=Path, default=outputs / "reproduced", help="folder of repetitions (%(default)s)"
    )
    parser.add_argument(
        "--uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(outputs),
        help="where MLflow tracks",  # without the default, which may hold a password
    )
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    sys.exit(console.command(main, sys.argv[1:]))
