"""A training step of somebody's own, by the command of ``docs/extending.md``."""

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from segprune.model.contract import SegmentationNet
from segprune.stage.contract import Context
from segprune.stage.state import Trail
from segprune.training.step import MakeStep, Step, Training
from tests.run_here import ROOT, run_here
from tests.test_cli import TINY

PAGE = ROOT / "docs" / "extending.md"


@dataclass(frozen=True, kw_only=True)
class Slower:
    """Every step is smaller by a factor."""

    factor: float

    def __call__(self, ctx: Context, trail: Trail) -> MakeStep:
        def make(net: SegmentationNet, training: Training, steps: int) -> Step:
            schedule = replace(training.schedule, lr=self.factor * training.schedule.lr)
            return Step(net, replace(training, schedule=schedule), steps)

        return make


@pytest.mark.slow
def test_the_documented_command_trains_by_it(tmp_path: Path) -> None:
    typed = re.search(r"^\| training step .*?`('~stage.*?)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert typed is not None
    text = (
        typed[1]
        .replace("my_package.Slower", "tests.run.test_own_step.Slower")
        .replace("factor: 0.5", "factor: 0")
    )
    own = [*shlex.split(text), "extensions=[tests]"]
    ended = run_here(tmp_path, *own, "stages=[train,finetune]", *TINY, "tracking=silent")
    assert ended.code == 0, ended
    trained, tuned = (
        load_file(next((tmp_path / "store" / stage).glob("*/weights.safetensors")))
        for stage in ("train", "finetune")
    )
    moved = {name for name in trained if not torch.equal(trained[name], tuned[name])}
    assert moved  # it was trained, by steps of length 0, which move the statistics of batch norms alone
    assert all(name.rpartition(".")[2].startswith(("running_", "num_batches")) for name in moved)
