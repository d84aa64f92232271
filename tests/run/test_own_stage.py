"""The stage of the README, taken from the page and run as it says."""

import json
import re
import shlex
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.run_here import ROOT, Ended, refused, run_here
from tests.tables import give_tables

PAGE = (
    (ROOT / "README.md").read_text(encoding="utf-8").split("\n## A stage of your own\n")[1].split("\n## ")[0]
)
LITTLE = ["dataset.counts={fit: 8, select: 4, report: 4}", "dataset.size_hw=[32,32]", "device=cpu"]
SHORT = [
    "train.epochs=1",
    "train.warmup_epochs=0",
    "finetune=none",
    "calibration.images=8",
    "eval.latency_rounds=1",
]


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The page's files in an empty folder, and what its command says behind run.py."""
    (tmp_path / "mystages").mkdir()
    (tmp_path / "mystages" / "__init__.py").touch()
    (tmp_path / "mystages" / "rounding.py").write_text(block("python"))
    (tmp_path / "myconf" / "stage").mkdir(parents=True)
    (tmp_path / "myconf" / "stage" / "round.yaml").write_text(block("yaml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (line,) = re.findall(r"^python run\.py (.*)$", PAGE, re.MULTILINE)
    return [*shlex.split(line), *LITTLE, *SHORT]


def rows(ended: Ended, outputs: Path) -> dict[str, dict[str, float]]:
    assert ended.code == 0, ended
    newest = max(outputs.glob("runs/*/*/rows.jsonl"), key=lambda path: path.stat().st_mtime)
    return {row["stage"]: row for row in map(json.loads, newest.read_text().splitlines())}


@pytest.mark.slow
def test_the_stage_of_the_page_runs_is_tracked_stored_planned_and_reused(
    tmp_path: Path, command: list[str]
) -> None:
    outputs = tmp_path / "out"
    give_tables(outputs)
    planned = run_here(outputs, "-m", "hydra/launcher=plan", *command)
    assert "train new" in planned.out, planned
    first = rows(run_here(outputs, *command), outputs)
    assert list(first) == ["dense", "pruned_raw", "pruned", "round"]
    assert 0 < first["round"]["logit_mse"] != first["pruned"]["logit_mse"]
    assert first["round"]["macs"] == first["pruned"]["macs"]
    (entry,) = (outputs / "store" / "round").glob("*/weights.safetensors")
    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'segprune-streets'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["time/round_s"] >= 0
    assert run.data.params["stage.round.bits"] == "4"
    made = entry.stat().st_mtime_ns
    assert rows(run_here(outputs, *command), outputs)["round"] == first["round"]
    assert entry.stat().st_mtime_ns == made
    planned = run_here(outputs, "-m", "hydra/launcher=plan", *command, "stage.round.bits=4,5")
    assert "all reused" in planned.out, planned
    assert "finetune reused, round new" in planned.out, planned


@pytest.mark.slow
def test_its_refusals_come_before_any_work(tmp_path: Path, command: list[str]) -> None:
    outputs = tmp_path / "out"
    give_tables(outputs)
    assert "stage.round.bits is 99; it must be between 1 and 22" in refused(
        outputs, *command, "stage.round.bits=99"
    )
    assert "stage.round.bits is 'few'" in refused(outputs, *command, "stage.round.bits=few")
    wrong = [part.replace("round,", "rund,") for part in command]
    assert "stages names 'rund'; there are" in refused(outputs, *wrong)
