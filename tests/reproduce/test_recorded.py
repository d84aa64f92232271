import json
from pathlib import Path
from typing import Any

import pytest

from segprune.errors import ConfigError, TrackingError
from segprune.reproduce.origin import ARTIFACT, FILE
from segprune.reproduce.recorded import from_folder, from_mlflow
from segprune.tracking.contract import RunStart
from segprune.tracking.mlflow_tracker import MlflowTracking
from segprune.tracking.store import sqlite_uri
from tests.tables import give_tables

MADE: dict[str, Any] = {"format": 1, "overrides": ["ratio=0.4"]}
ROWS: list[dict[str, Any]] = [{"stage": "dense"}, {"stage": "pruned"}]


def test_a_folder_tells_its_record_and_its_rows(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "2026-11-22" / "10-00" / "3"
    folder.mkdir(parents=True)
    (folder / FILE).write_text(json.dumps(MADE))
    assert from_folder(folder).rows == []
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    found = from_folder(folder)
    assert (found.name, found.origin, found.rows) == ("2026-11-22-10-00-3", MADE, ROWS)


def test_what_a_search_found_is_read_from_the_plan_of_the_store(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(MADE))
    entries = ["train/aa", "prune/bb", "eval/cc"]
    status = {"store": str(tmp_path / "store"), "entries": entries}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert from_folder(tmp_path).macs_ratio is None
    plan = tmp_path / "store" / "prune" / "bb" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text(json.dumps({"found": None}))
    assert from_folder(tmp_path).macs_ratio is None
    plan.write_text(json.dumps({"found": {"macs_ratio": 0.625}}))
    assert from_folder(tmp_path).macs_ratio == 0.625


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"left no origin\.json.*Give a run or a single job of a sweep, not the sweep"),
        ("{", r"origin\.json is damaged: .*Give the run's id in MLflow"),
        ('{"format": 9}', r"has format 9, this program reads 1\. Use the version that made it"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=message):
        from_folder(tmp_path)


def test_the_tracker_tells_the_same(tmp_path: Path) -> None:
    give_tables(tmp_path)
    tracking = MlflowTracking(uri=None, root=tmp_path, experiment="x", flush_seconds=0)
    run, bare = (
        tracking.open(RunStart(name=name, kind="job", folder=tmp_path / name)) for name in ("run", "bare")
    )
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(ROWS))
    run.text(json.dumps(MADE), ARTIFACT)
    run.file(rows, "eval")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"found": {"macs_ratio": 0.625}}))
    run.file(plan, "prune")
    run.close("FINISHED")
    bare.close("FAILED")
    uri = sqlite_uri(tmp_path)
    found = from_mlflow(run.run_id, uri)
    assert (found.name, found.origin, found.rows) == (run.run_id, MADE, ROWS)
    assert found.macs_ratio == 0.625
    with pytest.raises(ConfigError, match=r"left no origin\.json"):
        from_mlflow(bare.run_id, uri)
    with pytest.raises(TrackingError, match="0" * 32):
        from_mlflow("0" * 32, uri)


def test_what_is_neither_a_folder_nor_an_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"outputs/typo is neither a folder nor the id of an MLflow run\. Give"
    ):
        from_mlflow("outputs/typo", sqlite_uri(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_half_a_row_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(MADE))
    (tmp_path / "rows.jsonl").write_text('{"stage": "dense"}\n{"stage": "pru')
    with pytest.raises(ConfigError, match=r"rows\.jsonl is damaged: .*Give the run's id in MLflow"):
        from_folder(tmp_path)
