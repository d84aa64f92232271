"""The logits of teachers as a result of the store: computed once for all students, where images stay the same."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segprune.dataset.loading import batches
from segprune.distill.contract import Loss
from segprune.distill.kept_logits import KeptLogits, changing, write
from segprune.distill.teacher import Teacher
from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet
from segprune.schedule.schedule import Schedule, autocast_dtype
from segprune.stage.contract import Context
from segprune.stage.identity import fingerprint_of
from segprune.stage.state import NetState

WORD = "logits"
KEY = "teacher.cache_logits"


def refuse(ctx: Context, loss: Loss, teacher: SegmentationNet, schedule: Schedule) -> None:
    """Check, before anything is trained, that the logits can be kept.

    Args:
        ctx: The run.
        loss: What compares them.
        teacher: One that gives logits of the same shape as the teachers.
        schedule: Of the student.

    Raises:
        ConfigError: The loss compares maps too, images change from epoch to epoch, or the disk is too small.
    """
    if loss.maps != "none":
        raise ConfigError(
            f"{KEY} is true, but distill compares feature maps too, which are too large to be kept. Give "
            f"{KEY}=false, or a loss of logits, such as distill=kd."
        )
    if changing(ctx.data.fit):
        raise ConfigError(
            f"{KEY} is true, but training images change from epoch to epoch, so the teacher has to look at each of "
            f"them. Give {KEY}=false; or training without augmentation, for most datasets by "
            "dataset.augment.crop_area=null dataset.augment.flip=0 dataset.augment.jitter=0."
        )
    image = ctx.data.fit[0].image[None].to(ctx.hardware.device)
    with torch.no_grad(), _autocast(ctx, schedule):
        logits = teacher.eval()(image)
    need, folder = 4 * len(ctx.data.fit) * logits.numel(), _existing(ctx.store.root)
    if need > (free := shutil.disk_usage(folder).free):
        raise ConfigError(
            f"{KEY} is true, and the logits of {len(ctx.data.fit)} images take {need / 1e9:.1f} GB, but {folder} "
            f"has {free / 1e9:.1f} GB left. Give {KEY}=false, or a store.root on a larger disk."
        )


def teacher_logits(
    ctx: Context, teachers: Sequence[NetState], told_by: Sequence[Any], schedule: Schedule
) -> KeptLogits:
    """What the teachers say of all training images.

    Args:
        ctx: The run.
        teachers: They are averaged.
        told_by: What tells them apart.
        schedule: Of the student, for the precision and the size of batches.
    """
    inputs: Mapping[str, Any] = {
        "about": ctx.about,
        "data": ctx.data.identity.fit,
        "device": ctx.hardware.device.type,
        "autocast": str(autocast_dtype(schedule, ctx.hardware.device)),
        "batch_size": schedule.batch_size,
        "teachers": list(told_by),
    }
    key = fingerprint_of(ctx, WORD, inputs, __name__)

    def make(folder: Path) -> None:
        teacher = Teacher(nets=[state.module for state in teachers], taps={})
        write(folder, _seen(ctx, teacher, schedule))

    return KeptLogits(ctx.store.get(WORD, key, make).folder)


def _seen(ctx: Context, teacher: Teacher, schedule: Schedule) -> Iterator[tuple[Tensor, Tensor]]:
    """Every training image once, and what the teacher makes of it as the student's training computes."""
    for batch in batches(ctx.data.fit, batch_size=schedule.batch_size, workers=ctx.hardware.workers):
        with _autocast(ctx, schedule):
            logits = teacher(batch.on(ctx.hardware.device).image).logits
        yield batch.image, logits


def _autocast(ctx: Context, schedule: Schedule) -> torch.autocast:
    half = autocast_dtype(schedule, ctx.hardware.device)
    return torch.autocast(ctx.hardware.device.type, dtype=half, enabled=half is not None)


def _existing(folder: Path) -> Path:
    """The folder, or the one in which it will be made."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())
