"""Reads the record of a run, from its folder or from the tracker."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segprune import status
from segprune.errors import ConfigError
from segprune.reproduce.origin import ARTIFACT, FILE, FORMAT
from segprune.result import files
from segprune.tracking.failure import failures
from segprune.tracking.store import open_client, require_run_id, store_error

ROWS, ROWS_ARTIFACT = "rows.jsonl", f"eval/{files.ROWS}"
PLAN_ARTIFACT = f"prune/{files.PLAN}"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The record of a run.

    Attributes:
        name: Of the run, for a folder.
        origin: What ``origin_of`` gave.
        rows: One record per network; none if the run ended before.
        macs_ratio: What a budget that searches by a clock found; None of other budgets, and where its plan.json is
            gone.
    """

    name: str
    origin: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    macs_ratio: float | None = None


def from_folder(folder: Path) -> Recorded:
    """The record in the run's folder.

    Raises:
        ConfigError: It recorded nothing to repeat it from, or the record is damaged.
    """
    name = "-".join(folder.resolve().parts[-3:])
    return Recorded(
        name=name,
        origin=_origin(folder / FILE),
        rows=_rows(folder / ROWS),
        macs_ratio=_macs_ratio(_plan_of(folder)),
    )


def from_mlflow(run_id: str, uri: str) -> Recorded:
    """The record in the tracker.

    Raises:
        ConfigError: It cannot be the id of a run, or the run recorded nothing to repeat it from.
        TrackingError: The tracker cannot be reached, or has no such run.
    """
    require_run_id(run_id, "outputs/runs/<date>/<time>, outputs/sweeps/<date>/<time>/<job>")
    client = open_client(uri)
    try:
        with tempfile.TemporaryDirectory() as place:
            rooms = ("config", "eval", "prune")
            held = {file.path for name in rooms for file in client.list_artifacts(run_id, name)}
            found = {
                path: Path(client.download_artifacts(run_id, path, place))
                for path in (ARTIFACT, ROWS_ARTIFACT, PLAN_ARTIFACT)
                if path in held
            }
            rows = found.get(ROWS_ARTIFACT)
            return Recorded(
                name=run_id,
                origin=_origin(found.get(ARTIFACT, Path(place) / ARTIFACT)),
                rows=json.loads(rows.read_text(encoding="utf-8")) if rows else [],
                macs_ratio=_macs_ratio(found.get(PLAN_ARTIFACT)),
            )
    except failures() as error:
        raise store_error(error, uri) from error


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}. Give the run's id in MLflow instead.") from error


def _plan_of(folder: Path) -> Path | None:
    """The plan of the run in a folder, if its store still has it."""
    found = status.read(folder)
    plans = [Path(found.get("store", folder), name, files.PLAN) for name in found.get("entries", ())]
    return next((path for path in reversed(plans) if path.exists()), None)


def _macs_ratio(plan: Path | None) -> float | None:
    found = plan and json.loads(plan.read_text(encoding="utf-8")).get("found")
    return float(found["macs_ratio"]) if found else None


def _origin(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ConfigError(
            f"the run left no {FILE}, which records its command, code, packages, machine and data. Give a run or a "
            "single job of a sweep, not the sweep. What was typed for a run without such a record is in its "
            ".hydra/overrides.yaml."
        )
    try:
        made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}. Give the run's id in MLflow instead.") from error
    if made.get("format") != FORMAT:
        raise ConfigError(
            f"{path} has format {made.get('format')!r}, this program reads {FORMAT}. Use the version that made it."
        )
    return made
