import json
from pathlib import Path

import pytest
import torch
from torch import nn

from segprune.bench.bare import inverse_root_weights, main, mean_iou
from segprune.bench.job import Job
from segprune.dataset.weights import class_weights
from segprune.measure.evaluate import evaluate
from segprune.measure.miou import segmentation_metrics

SMALL = Job(
    height=32, width=32, fit=8, select=2, report=3, epochs=1, finetune=1, methods=("taylor", "fpgm"), ratios=(0.5,)
)  # fmt: skip


class Bright(nn.Module):
    """Tells the class from how bright a pixel is."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mean = image.mean(1, keepdim=True)
        return -(mean - torch.arange(11).view(1, 11, 1, 1) / 11).abs()


def test_it_judges_and_weighs_as_this_program_does(tmp_path: Path) -> None:
    data = SMALL.data(tmp_path)
    counts = evaluate(
        Bright(),
        data.report,
        num_classes=11,
        ignore_index=data.ignore_index,
        batch_size=2,
        workers=0,
        device=torch.device("cpu"),
    )
    assert mean_iou(Bright(), data.report, data) == pytest.approx(segmentation_metrics(counts).miou)
    ours = class_weights(data.calibration, num_classes=11, ignore_index=data.ignore_index, mode="sqrt")
    assert torch.allclose(inverse_root_weights(data), ours, rtol=1e-4)


@pytest.mark.slow
def test_it_trains_cuts_finetunes_and_judges_every_cell(tmp_path: Path) -> None:
    main([SMALL.text(), str(tmp_path / "cache"), str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert [name for name, _ in found["began"]] == ["train", "eval", *["prune", "finetune", "eval"] * 2]
    assert {*found["miou"]} == {
        "dense", "taylor-0.5 pruned", "taylor-0.5 finetuned", "fpgm-0.5 pruned", "fpgm-0.5 finetuned"
    }  # fmt: skip
    assert all(0 < value < 1 for value in found["miou"].values())
