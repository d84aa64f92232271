"""What the rules work on: drawn streets, a small U-Net, a schedule."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from segprune.dataset.contract import Batch, SegData
from segprune.dataset.loading import calibration_batches
from segprune.dataset.streets import streets
from segprune.gpu_check.contract import Bench
from segprune.loss.ce import CrossEntropy
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet
from segprune.schedule.schedule import Schedule
from segprune.seed import seeded
from segprune.training.loop import fit
from segprune.training.step import Epoch, Hardware, Step, Training

PLAIN = Schedule(
    epochs=2,
    batch_size=4,
    accumulate=1,
    optimizer="sgd",
    lr=0.02,
    weight_decay=0.0,
    momentum=0.9,
    decay="constant",
    poly_power=0.9,
    warmup_epochs=0.0,
    loss=CrossEntropy(),
    class_weights="none",
    aux_weight=0.4,
    penalty=0.0,
    amp="auto",
    grad_clip=None,
    keep="last",
    compile=False,
    checkpointing=False,
)


def data_of(bench: Bench, size_hw: tuple[int, int] = (96, 128), report: int = 8) -> SegData:
    """Streets without augmentation."""
    small = (size_hw[0] // 2, size_hw[1] // 2)
    return streets(
        size_hw=small if bench.is_small else size_hw,
        counts={"fit": bench.size(40, 8), "select": 2, "report": bench.size(report, 2)},
        data_seed=0,
        augment={"crop_area": None, "flip": 0.0, "jitter": 0.0},
        seed=0,
        cache_dir=bench.folder / "cache",
    )


def network(bench: Bench, classes: int) -> SegmentationNet:
    """A U-Net with seeded weights, on the CPU."""
    with seeded(0, "network"):
        width = bench.size(16, 4)
        return unet(
            width=width,
            max_width=4 * width,
            depth=3,
            convs_per_level=1,
            upsample="bilinear",
            num_classes=classes,
        )


def batches_of(data: SegData, device: torch.device, count: int = 2) -> list[Batch]:
    """Batches of four calibration images on the device."""
    drawn = calibration_batches(data.calibration, count=4 * count, batch_size=4, seed=0)
    return [Batch(image.to(device), label.to(device).long()) for image, label in drawn]


def training_of(  # the arguments of a training, but for those that are always the same
    data: SegData,
    device: torch.device,
    folder: Path,
    schedule: Schedule = PLAIN,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Training:
    """A training that keeps its progress in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return Training(
        data=replace(data, select=None),
        schedule=schedule,
        seed=0,
        hardware=Hardware(device=device, workers=0),
        folder=folder,
        on_epoch=on_epoch,
        key="train",
    )


def trained(bench: Bench, data: SegData) -> SegmentationNet:
    """The network after a training on the CPU, the same for every rule; it stays there."""
    schedule = replace(PLAIN, epochs=bench.size(8, 1))
    training = training_of(data, torch.device("cpu"), bench.folder / "trained", schedule)
    return fit(network(bench, len(data.classes)), training, Step)[0]
