from pathlib import Path

import pytest
import torch

from segprune.bench.contract import Bench
from segprune.bench.scoring import (
    WITHOUT_TRAINING,
    criterion,
    measure,
    naive_distances,
    naive_lamp,
    naive_norms,
)

ROOT = Path(__file__).parent.parent.parent
# three filters of a layer with two inputs and 1x1 kernels: (3, 4), (0, 0) and (6, 8)
WEIGHT = torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]).view(3, 2, 1, 1)


def test_the_plain_forms_are_what_papers_say() -> None:
    assert naive_norms(WEIGHT, 1) == [7, 0, 14]
    assert naive_norms(WEIGHT, 2) == [5, 0, 10]
    assert naive_distances(WEIGHT) == [10, 15, 15]  # 5 + 5, 5 + 10, 5 + 10
    assert naive_lamp(WEIGHT) == [25 / 125, 0, 100 / 100]  # the last: 25 by 25 + 100


def test_every_criterion_without_a_training_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    options = {path.stem for path in Path("conf", "pruner").glob("*.yaml")} - {"sirfp_paper"}
    trained = {name for name in options if "phase" in Path("conf", "pruner", f"{name}.yaml").read_text()}
    assert trained == {"slimming", "cap", "dmcp"}
    assert options - trained == {*WITHOUT_TRAINING}
    assert all(criterion(name).name == name for name in WITHOUT_TRAINING)


@pytest.mark.slow
def test_each_is_compared_with_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "scoring").mkdir()
    found = list(measure(Bench(folder=tmp_path / "scoring", is_quick=True, rounds=1)))
    assert all(one.value > 0 and one.sizes == "unet, 320 channels, 16 images of 48x64 px" for one in found)
    named = [one.what for one in found]
    assert {f"{name}, this program" for name in WITHOUT_TRAINING} <= {*named}
    assert {"fpgm, by torch-pruning", "fpgm, by naive", "taylor, by torch-pruning"} <= {*named}
    assert len(named) == len({*named})
