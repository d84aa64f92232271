from pathlib import Path
from types import SimpleNamespace

import pytest

from segprune.errors import ConfigError
from segprune.report import tracked
from segprune.report.tracked import sweep_folder

SWEEP, JOB, LONE = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture(autouse=True)
def tags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, dict[str, str]]:
    """A tracker of three runs; what it answers beyond these is its own affair, tested there."""
    held = {SWEEP: {"sweep.dir": str(tmp_path)}, JOB: {"mlflow.parentRunId": SWEEP}, LONE: {"kind": "job"}}

    def get_run(run_id: str) -> SimpleNamespace:
        return SimpleNamespace(data=SimpleNamespace(tags=held[run_id]))

    monkeypatch.setattr(tracked, "open_client", lambda uri: SimpleNamespace(get_run=get_run))
    monkeypatch.setattr(tracked, "failures", lambda: (OSError,))
    return held


@pytest.mark.parametrize("run_id", [SWEEP, JOB])
def test_a_sweep_is_found_by_its_run_and_by_those_of_its_jobs(tmp_path: Path, run_id: str) -> None:
    assert sweep_folder(run_id, "somewhere") == tmp_path


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert sweep_folder(str(tmp_path), "nowhere") == tmp_path


def test_what_is_neither_folder_nor_id_is_refused() -> None:
    with pytest.raises(ConfigError, match="no/such is neither a folder nor the id of an MLflow run"):
        sweep_folder("no/such", "somewhere")


def test_a_run_of_no_sweep_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"the run {LONE} belongs to no sweep"):
        sweep_folder(LONE, "somewhere")


def test_a_folder_of_another_machine_is_named(tags: dict[str, dict[str, str]], tmp_path: Path) -> None:
    tags[SWEEP]["sweep.dir"] = str(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"gone is not on this machine.*as report\.html"):
        sweep_folder(SWEEP, "somewhere")
