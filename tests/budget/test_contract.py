import json
from pathlib import Path

import pytest

from segprune.budget.contract import Budget
from segprune.budget.fraction import FractionBudget
from segprune.budget.threshold import ThresholdBudget
from tests.run_here import run_here
from tests.test_cli import TINY

PACKAGE = '''
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from segprune.budget.allocate import Allocation
from segprune.budget.contract import Reached
from segprune.budget.reached import reached_by, removed_by
from segprune.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FileBudget:
    """Every layer loses the same share of its channels, until the weights, 4 bytes each, are few enough."""

    of: ClassVar[str] = "file_size_bytes"
    floor: Annotated[float, Field(ge=0, lt=1)]

    def ranking(self, paper_scope):
        return "local"

    def checked(self, ratio):
        return ratio

    def refuse_unreachable(self, groups, ratio, simulator):
        pass

    def target(self, ratio, simulator):
        raise ConfigError("budget=file trains no widths. Take another budget.")

    def __call__(self, groups, scores, *, ratio, paper_scope, simulator, gone=None, is_last=True):
        allocation = Allocation(groups, scores, floor=self.floor, round_to=1, gone=gone)
        plans = [allocation.plan(allocation.local(share / 100)) for share in range(100)]
        plan = next(plan for plan in plans if removed_by(plan, simulator, "params") >= ratio)
        return reached_by(plan, simulator, of="params", scope="local", asked=ratio)
'''


def test_the_budgets_here_are_budgets() -> None:
    guards = {"floor": 0.1, "round_to": 1}
    assert isinstance(FractionBudget(of="macs", scope="local", tolerance=0.1, **guards), Budget)
    assert isinstance(ThresholdBudget(threshold=0.1, **guards), Budget)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A user's package with a budget of another unit, and its YAML in a folder of the user's."""
    (tmp_path / "own" / "filebudget").mkdir(parents=True)
    (tmp_path / "own" / "filebudget" / "__init__.py").write_text(PACKAGE)
    (tmp_path / "conf" / "budget").mkdir(parents=True)
    (tmp_path / "conf" / "budget" / "file.yaml").write_text("_target_: filebudget.FileBudget\nfloor: 0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    tiny = [part for part in TINY if not part.startswith("budget.")]
    return [
        f"--config-dir={tmp_path}/conf",
        "extensions=[filebudget]",
        "budget=file",
        "tracking=silent",
        *tiny,
    ]


@pytest.mark.slow
def test_a_budget_of_another_unit_is_one_file_and_one_yaml(tmp_path: Path, own: list[str]) -> None:
    ended = run_here(tmp_path / "outputs", *own, "pruner=l1", "ratio=0.3", "finetune=none")
    assert ended.code == 0, ended.error
    (lines,) = (tmp_path / "outputs").rglob("rows.jsonl")
    dense, *_, pruned = (json.loads(line) for line in lines.read_text().splitlines())
    (path,) = (tmp_path / "outputs" / "store" / "prune").glob("*/plan.json")
    plan = json.loads(path.read_text())
    assert (pruned["budget"], pruned["scope"], pruned["ratio_asked"]) == ("file_size_bytes", "local", 0.3)
    assert pruned["ratio_reached"] == 1 - pruned["file_size_bytes"] / dense["file_size_bytes"]
    assert (plan["budget"], plan["asked"], plan["removed"]) == (
        "file_size_bytes",
        0.3,
        plan["params_removed"],
    )
    assert plan["params_removed"] == 1 - pruned["params_kept"] >= 0.3


@pytest.mark.slow
def test_a_budget_that_can_train_no_widths_says_so_before_anything_is_trained(
    tmp_path: Path, own: list[str]
) -> None:
    ended = run_here(tmp_path / "outputs", *own, "pruner=dmcp", "ratio=0.3")
    assert ended.code == 1
    assert "budget=file trains no widths. Take another budget." in ended.error
    assert not list((tmp_path / "outputs").glob("store/train/*"))
