"""The job that is measured: the same for this program and for whatever it is compared with."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from segprune.bench.contract import Bench
from segprune.dataset.contract import SegData
from segprune.dataset.streets import streets


@dataclass(frozen=True, kw_only=True)
class Job:
    """Sizes of one chain on drawn streets, or of a grid of chains that share the dense network.

    Attributes:
        height: Of images, in px.
        width: Of images, in px.
        fit: Training images.
        select: Images that choose the epoch.
        report: Images that networks are measured on.
        epochs: Of the training.
        finetune: Epochs of the finetuning.
        methods: Criteria.
        ratios: Fractions of the channels removed.
    """

    height: int
    width: int
    fit: int
    select: int
    report: int
    epochs: int
    finetune: int
    methods: tuple[str, ...]
    ratios: tuple[float, ...]

    def overrides(self) -> list[str]:
        """What makes a command of this program do it."""
        return [
            f"dataset.size_hw=[{self.height},{self.width}]",
            f"dataset.counts={{fit:{self.fit},select:{self.select},report:{self.report}}}",
            f"train.epochs={self.epochs}",
            f"finetune.epochs={self.finetune}",
            f"pruner={','.join(self.methods)}",
            f"ratio={','.join(map(str, self.ratios))}",
        ]

    def data(self, cache: Path) -> SegData:
        """The images, drawn if they are not in the folder yet, with the default augmentation."""
        return streets(
            size_hw=(self.height, self.width),
            counts={"fit": self.fit, "select": self.select, "report": self.report},
            data_seed=0,
            augment={"crop_area": (0.4, 1.0), "flip": 0.5, "jitter": 0.2},
            seed=0,
            cache_dir=cache,
        )

    def sizes(self) -> str:
        """It in words."""
        cells = len(self.methods) * len(self.ratios)
        return (
            f"unet, {self.height}x{self.width} px, {self.fit}+{self.select}+{self.report} images, "
            f"{self.epochs}+{self.finetune} epochs" + (f", {cells} jobs" if cells > 1 else "")
        )

    def text(self) -> str:
        """It as JSON."""
        return json.dumps(asdict(self))


def read(text: str) -> Job:
    """The job that ``Job.text`` spelled."""
    values = json.loads(text)
    return Job(**{**values, "methods": tuple(values["methods"]), "ratios": tuple(values["ratios"])})


def single(bench: Bench) -> Job:
    """One chain: that of ``make run``, or a small one."""
    return Job(
        height=bench.size(96, 48),
        width=bench.size(128, 64),
        fit=bench.size(300, 48),
        select=bench.size(60, 12),
        report=bench.size(100, 20),
        epochs=bench.size(8, 2),
        finetune=bench.size(2, 1),
        methods=("taylor",),
        ratios=(0.3,),
    )


def grid(bench: Bench) -> Job:
    """The grid of the README, or two methods at two ratios on little."""
    methods = ("taylor", "fpgm") if bench.is_quick else ("taylor", "fpgm", "sirfp")
    ratios = (0.3, 0.5) if bench.is_quick else (0.2, 0.3, 0.5)
    return Job(**{**asdict(single(bench)), "methods": methods, "ratios": ratios})
