import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segprune.errors import BudgetError
from segprune.pruner.contract import Calibration
from segprune.pruner.l1 import L1
from segprune.stage.calibration import CalibrationSet
from tests.stage.test_prune import dense, stage
from tests.tiny import tiny_context


class Counting(L1):
    calls = 0

    def __call__(self, net, groups, calibration: Calibration) -> dict[str, Tensor]:
        Counting.calls += 1
        return super().__call__(net, groups, calibration)


class Silent(L1):
    def __call__(self, net, groups, calibration: Calibration) -> dict[str, Tensor]:
        return {group.name: torch.full((group.size,), float("nan")) for group in groups}


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "calls", 0)


def plan_of(tmp_path: Path, **changes: object) -> dict[str, object]:
    (*_, pruned) = stage(pruner=Counting(normalize="none"), **changes)(tiny_context(tmp_path), dense())
    return json.loads((pruned.folder / "plan.json").read_text())


@pytest.mark.slow
def test_a_network_is_scored_once_for_all_budgets(tmp_path: Path) -> None:
    small, large = (plan_of(tmp_path, ratio=ratio) for ratio in (0.2, 0.5))
    assert Counting.calls == 1
    assert small["scoring_s"] == large["scoring_s"]  # what it took when it was done
    assert set(small["plan"]["stem.0"]) < set(large["plan"]["stem.0"])
    assert large["plan"] == plan_of(tmp_path / "other", ratio=0.5)["plan"]


@pytest.mark.slow
def test_other_images_score_anew(tmp_path: Path) -> None:
    for images in (4, 8):
        plan_of(tmp_path, calibration=CalibrationSet(images=images, batch_size=4))
    assert Counting.calls == 2


@pytest.mark.slow
def test_later_rounds_score_what_is_left(tmp_path: Path) -> None:
    for ratio in (0.2, 0.5):
        plan_of(tmp_path, ratio=ratio, rounds=2)
    assert Counting.calls == 3  # the first round of both is the same


@pytest.mark.slow
def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"no finite score for each of the 6 channels of 'stem\.0'"):
        stage(pruner=Silent(normalize="none"))(tiny_context(tmp_path), dense())
