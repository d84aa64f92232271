"""A tiny run: in-memory data, a toy network and a silent tracker."""

from collections.abc import Callable
from pathlib import Path

import torch

from segprune.dataset.contract import Batch, Identity, SegData
from segprune.loss.ce import CrossEntropy
from segprune.model.contract import SegmentationNet
from segprune.schedule.schedule import Schedule
from segprune.stage.contract import Context
from segprune.stage.facts import RowFacts
from segprune.store.store import Store
from segprune.tracking.contract import RunStart
from segprune.tracking.silent import SilentTracking
from segprune.training.step import Hardware
from tests.toys import Residual

FACTS = RowFacts(run="l1-r0.5-s0", model="toy", pruner="l1", budget="channels", scope="local", ratio=0.5)
CPU = Hardware(device=torch.device("cpu"), workers=0)


class Items:
    """Images whose four quadrants tell the class: learnable in a few steps. Index = epoch * n + i."""

    def __init__(self, count: int, seed: int, label_size: int = 16) -> None:
        self.count, self.seed, self.label_size = count, seed, label_size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Batch:
        generator = torch.Generator().manual_seed(1000 * self.seed + index % self.count)
        label = torch.randint(4, (2, 2), generator=generator)
        image = torch.stack([label == 1, label == 2, label == 3]).float()
        image = image.repeat_interleave(8, 1).repeat_interleave(8, 2)
        image = (image + 0.2 * torch.rand(3, 16, 16, generator=generator)).clamp(0, 1)
        half = self.label_size // 2
        return Batch(image, label.repeat_interleave(half, 0).repeat_interleave(half, 1))


def tiny_data(**changes: object) -> SegData:
    values: dict[str, object] = {
        "name": "quadrants",
        "classes": ("none", "red", "green", "blue"),
        "palette": ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)),
        "ignore_index": 255,
        "size_hw": (16, 16),
        "fit": Items(8, seed=0),
        "calibration": Items(8, seed=0),
        "select": Items(4, seed=1),
        "report": Items(6, seed=2, label_size=32),
        "report_split": "test",
        "identity": Identity(fit="f", calibration="c", select="s", report="r"),
    }
    return SegData(**{**values, **changes})


def tiny_schedule(**changes: object) -> Schedule:
    values: dict[str, object] = {
        "epochs": 2,
        "batch_size": 4,
        "accumulate": 1,
        "optimizer": "adamw",
        "lr": 0.01,
        "weight_decay": 0.0,
        "momentum": 0.9,
        "decay": "poly",
        "poly_power": 0.9,
        "warmup_epochs": 0.0,
        "loss": CrossEntropy(),
        "class_weights": "sqrt",
        "aux_weight": 0.4,
        "penalty": 0.0,
        "amp": "auto",
        "compile": False,
        "checkpointing": False,
        "grad_clip": None,
        "keep": "last",
    }
    return Schedule(**{**values, **changes})


def tiny_net() -> SegmentationNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Residual()


def tiny_context(
    folder: Path,
    *,
    data: SegData | None = None,
    build: Callable[[], SegmentationNet] = tiny_net,
    seed: int = 0,
    facts: RowFacts = FACTS,
) -> Context:
    start = RunStart(name="tiny", kind="job", folder=folder)
    return Context(
        data=data or tiny_data(),
        build=build,
        about={"model": {"_target_": "tests.toys.Residual"}, "classes": ["none", "red", "green", "blue"]},
        sources=frozenset(),
        seed=seed,
        hardware=CPU,
        store=Store(root=folder / "store", reuse=True),
        tracker=SilentTracking().open(start),
        facts=facts,
    )
