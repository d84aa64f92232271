from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from segprune.bench.contract import Bench
from segprune.bench.epochs import BATCH, bare, looped
from segprune.bench.job import single
from segprune.model.unet import unet


class Noted:
    """Remembers the losses that it is given."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def metrics(self, values: dict[str, float], *, step: int) -> None:
        self.losses.append(values["train/loss"])


def test_bare_updates_and_the_loop_train_the_same_and_leave_the_network_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(single(Bench(folder=tmp_path, is_quick=True)), height=32, width=32, fit=BATCH, report=1)
    data = replace(small.data(tmp_path / "cache"), select=None)
    net = unet(width=4, max_width=8, depth=2, convs_per_level=1, upsample="bilinear", num_classes=11)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tracker, losses, real = Noted(), list[float](), F.cross_entropy

    def noted(*given: Any, **named: Any) -> torch.Tensor:
        value = real(*given, **named)
        losses.append(value.item())
        return value

    looped(net, data, tmp_path / "loop", tracker)
    monkeypatch.setattr(F, "cross_entropy", noted)
    bare(net, data)
    assert len(losses) == 2  # one batch in each epoch
    assert losses == pytest.approx(tracker.losses, rel=1e-5)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
