"""The commands of the pages on tasks, typed one after another on small data."""

import os
import re
import shlex
from pathlib import Path

import pytest

from segprune.__main__ import evaluation
from tests.dataset.trees import camvid_tree
from tests.warm import ROOT, run_warm

SMALL = [
    *("dataset.size_hw=[32,32]", "model.width=4", "model.max_width=8", "device=cpu", "tracking=silent"),
    *(
        "train.epochs=1",
        "finetune.epochs=1",
        "calibration={images: 4, batch_size: 4}",
        "budget.tolerance=0.05",
    ),
    *("eval.latency_rounds=2", "eval.latency_warmup=0", "eval.runtimes=[eager]", "eval.overlay_images=0"),
]


def commands(page: str, heading: str) -> list[list[str]]:
    """What stands behind ``segprune`` in the blocks below a heading, the first word and the rest."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    below = f"\n{text}".partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    return [shlex.split(line, comments=True) for line in re.findall(r"^segprune (.+)$", below, re.MULTILINE)]


@pytest.mark.slow
def test_the_steps_one_by_one_end_as_one_command_does_and_are_compared(tmp_path: Path) -> None:
    data = camvid_tree(tmp_path / "camvid", {"train": 8, "val": 4, "test": 4})
    environment = {**os.environ, "SEGPRUNE_OUTPUTS": str(tmp_path / "out"), "OMP_NUM_THREADS": "1"}
    *steps, in_one = commands("how_to.md", "## Train, prune, finetune, evaluate: one by one")
    *_, splits, oracle = commands(
        "evaluate.md", "# Evaluate finished networks"
    )  # others are as the last step
    assert len(steps) == 4
    for word, *rest in (*steps, splits, oracle, in_one):
        given = [one.replace("/data/camvid", str(data)).replace("samples=64", "samples=2") for one in rest]
        flags, choices, overrides = evaluation(given) if word == "eval" else ([], [], given)
        done = run_warm(environment, *flags, *overrides, *SMALL, *choices)
        assert done.returncode == 0, (word, rest, done.stderr)
    ends = [path.parent.name for path in (tmp_path / "out" / "store" / "finetune").glob("*/net.json")]
    assert len(ends) == 1  # one by one or in one command: the same result
