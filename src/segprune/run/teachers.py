"""The networks that teach, where the configuration names them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from segprune.checkpoint import checkpoint
from segprune.config.component import component
from segprune.config.compose import Settings
from segprune.dataset.contract import SegData
from segprune.errors import CheckpointError, ConfigError
from segprune.model.copies import ready
from segprune.model.initial import initial
from segprune.predict.predictor import builder
from segprune.stage.state import NetState, Trail
from segprune.stage.teaching import folders_of

LOOSE = {"weights", "checkpoint", "allow"}
"""Keys of a model that say where its first weights came from."""


def teachers_of(settings: Settings, data: SegData, device: torch.device) -> Trail:
    """The named networks, ready to run; none where none is named.

    Raises:
        CheckpointError: One cannot be read, or was made for other classes, images or another model than named.
        ConfigError: A model is named without weights.
    """
    return tuple(_teachers(settings, data, device))


def _teachers(settings: Settings, data: SegData, device: torch.device) -> Iterator[NetState]:
    folders = folders_of(settings.teacher.model_dump())
    for folder in folders:
        made = checkpoint.describe(folder)
        _refuse_others(made, folder, settings, data)
        build = builder(made, folder, settings.extensions)
        net, transforms, about = checkpoint.read(folder, build)
        yield NetState(
            name="teacher",
            net=ready(net, device),
            transforms=transforms,
            fingerprint=about["weights_sha256"],
            folder=folder,
        )
    node = settings.teacher.model
    if node is not None and not folders:
        if node.get("checkpoint") is None:
            raise ConfigError(
                "teacher.model names a network without trained weights. Give teacher.checkpoint=<folder of a "
                "checkpoint>; or, for a model that takes weights from elsewhere, teacher.model.checkpoint=<file>."
            )
        make = component(node, "teacher.model", extensions=settings.extensions, runtime=("num_classes",))
        try:
            net = initial(make, num_classes=len(data.classes), seed=settings.seed)
        except CheckpointError as error:  # it names the keys of the student
            raise CheckpointError(re.sub(r"(?<![\w.])model\.", "teacher.model.", str(error))) from error
        if net.bands != data.bands_count:
            raise ConfigError(
                f"teacher.model takes images of {net.bands} bands, the dataset has {data.bands_count}. Name a "
                "teacher of such images, as teacher.checkpoint=<folder of a checkpoint>."
            )
        yield NetState(name="teacher", net=ready(net, device), transforms=(), fingerprint="teacher.model")


def _refuse_others(made: dict[str, Any], folder: Path, settings: Settings, data: SegData) -> None:
    if made.get("classes") != list(data.classes):
        raise CheckpointError(
            f"teacher.checkpoint is {folder}, which was made for the classes {made.get('classes')}; the dataset "
            f"has {list(data.classes)}. Name a teacher of this dataset."
        )
    size_hw = made.get("size_hw")
    if size_hw is not None and tuple(size_hw) != tuple(data.size_hw):
        raise CheckpointError(
            f"teacher.checkpoint is {folder}, which was made for images of {list(size_hw)} px, but dataset.size_hw "
            f"is {list(data.size_hw)}. Give dataset.size_hw={list(size_hw)}, or a teacher of this size."
        )
    bands = made.get("bands") or {}
    held = (bands.get("count", 3), bands.get("bits", 8))
    here = (data.bands_count, data.bands.bits if data.bands else 8)
    if held != here:
        raise CheckpointError(
            f"teacher.checkpoint is {folder}, which was made for images of {held[0]} bands of {held[1]} bits; the "
            f"dataset has {here[0]} bands of {here[1]} bits. Name a teacher of this dataset."
        )
    node, recorded = settings.teacher.model, made.get("model") or {}
    wrong = [
        f"teacher.model.{key} is {node.get(key)!r}, the checkpoint was made with {recorded.get(key)!r}"
        for key in sorted({*(node or {}), *recorded} - LOOSE)
        if node is not None and node.get(key) != recorded.get(key)
    ]
    if wrong:
        raise CheckpointError(
            f"{folder} holds another network: {'; '.join(wrong)}. Leave teacher.model out: the checkpoint says it."
        )
