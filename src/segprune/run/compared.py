"""Two finished networks side by side: a baseline and a candidate, whatever they were made of."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from segprune.checkpoint import ancestry, checkpoint
from segprune.config.compose import Settings
from segprune.deploy.opened import open_file
from segprune.errors import CheckpointError
from segprune.predict.predictor import EXPORTED, builder
from segprune.run.reading import state_of
from segprune.stage.contract import Context, NetState, Trail
from segprune.stage.trial import refuse_other_sizes

BASELINE, CANDIDATE = "baseline", "candidate"
LOOSE = {"weights", "checkpoint", "allow"}
"""Keys of a model that say where its first weights came from."""


def compared(settings: Settings, ctx: Context, baseline: Path, candidate: Path) -> Trail:
    """The two networks, to be evaluated.

    Raises:
        CheckpointError: One cannot be read, or was made for other classes or bands than the dataset has.
        ConfigError: A file cannot be run here, or takes images of another size.
    """
    return _state(settings, ctx, baseline, BASELINE), _state(settings, ctx, candidate, CANDIDATE)


def _state(settings: Settings, ctx: Context, place: Path, name: str) -> NetState:
    if place.suffix == EXPORTED:
        return _of_file(ctx, place, name)
    made = checkpoint.describe(place)
    model = made.get("model") or {}
    is_other = _strict(ctx.about["model"]) != _strict(model)
    build = builder(made, place, settings.extensions, "'{}'") if is_other else ctx.build
    return replace(
        state_of(ctx, place, build, model if is_other else None),
        name=name,
        model=_words(model) if is_other else None,
        ancestry=None if name == BASELINE else ancestry.read(place),
    )


def _strict(model: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is, wherever its first weights came from."""
    return {key: value for key, value in model.items() if key not in LOOSE}


def _of_file(ctx: Context, path: Path, name: str) -> NetState:
    run, said = open_file(path, threads=torch.get_num_threads())
    if tuple(said.classes) != tuple(ctx.data.classes):
        raise CheckpointError(
            f"{path} was made for the classes {list(said.classes)}, the dataset has {list(ctx.data.classes)}. "
            "Choose the dataset that the file was made for."
        )
    if tuple(said.size_hw) != tuple(ctx.pass_hw):
        raise CheckpointError(
            f"{path} takes images of {list(said.size_hw)} px, the evaluation shows {list(ctx.pass_hw)}. Give "
            f"dataset.size_hw={list(said.size_hw)}.".replace(", ", ",")
        )
    refuse_other_sizes(ctx, str(path), "")
    return NetState(
        name=name,
        net=run,
        transforms=(),
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest()[:24],
        file_size_bytes=path.stat().st_size,
        model=path.name,
    )


def _words(model: Mapping[str, Any]) -> str:
    """A model by its builder, and by the architecture where that leaves the choice."""
    parts = [str(model.get("_target_", "")).rpartition(".")[2]]
    parts += [str(model[key]) for key in ("name", "arch", "encoder") if isinstance(model.get(key), str)]
    return "-".join(parts)
