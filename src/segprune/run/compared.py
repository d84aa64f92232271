"""Two finished networks side by side: a baseline and a candidate, whatever they were made of."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from segprune.checkpoint import ancestry, checkpoint
from segprune.config.compose import Settings
from segprune.deploy.about import About, about_data
from segprune.deploy.form import DEFAULT_FORM, Axis
from segprune.deploy.opened import open_file
from segprune.errors import CheckpointError
from segprune.measure.passes import ONE_PASS
from segprune.predict.predictor import EXPORTED, builder
from segprune.run.reading import state_of
from segprune.stage.contract import Context
from segprune.stage.state import NetState, Trail
from segprune.stage.trial import refuse_other_sizes

BASELINE, CANDIDATE = "baseline", "candidate"
SIDES: tuple[Axis, Axis] = ("height", "width")
LOOSE = {"weights", "checkpoint", "allow"}
"""Keys of a model that say where its first weights came from."""


def compared(settings: Settings, ctx: Context, baseline: Path, candidate: Path) -> Trail:
    """The two networks, to be evaluated.

    Raises:
        CheckpointError: One cannot be read, or was made for other classes or images than the dataset has.
        ConfigError: A file cannot be run here, or images come to it at several scales.
    """
    return _state(settings, ctx, baseline, BASELINE), _state(settings, ctx, candidate, CANDIDATE)


def _state(settings: Settings, ctx: Context, place: Path, name: str) -> NetState:
    if place.suffix == EXPORTED:
        return _of_file(ctx, place, name)
    made = checkpoint.describe(place)
    model = made.get("model") or {}
    is_other = _strict(ctx.about["model"]) != _strict(model)
    build = builder(made, place, settings.extensions) if is_other else ctx.build
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
    _refuse_other_images(ctx, path, said)
    if not {*SIDES} <= {*said.dynamic}:
        refuse_other_sizes(ctx, str(path), "")
    return NetState(
        name=name,
        net=run,
        transforms=(),
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest()[:24],
        file_size_bytes=path.stat().st_size,
        model=path.name,
    )


def _refuse_other_images(ctx: Context, path: Path, said: About) -> None:
    """Check that a file takes the images that the evaluation shows, and knows their classes.

    Raises:
        CheckpointError: It does not; says which key to change.
    """
    here = about_data(ctx.data, DEFAULT_FORM)
    if said.classes != here.classes:
        raise CheckpointError(
            f"{path} was made for the classes {list(said.classes)}, the dataset has {list(here.classes)}. Choose "
            "the dataset that the file was made for."
        )
    if (said.bands, said.bits) != (here.bands, here.bits):
        remedy = f"dataset.bands={said.bands}" if said.bands != here.bands else f"images of {said.bits} bits"
        raise CheckpointError(
            f"{path} takes images of {said.bands} bands of {said.bits} bits, the dataset has {here.bands} bands of "
            f"{here.bits} bits. Give {remedy}."
        )
    passes = said.passes or ONE_PASS
    takes, shown = passes.size_hw(said.size_hw), tuple(ctx.pass_hw)
    if any(
        side not in said.dynamic and taken != given
        for side, taken, given in zip(SIDES, takes, shown, strict=True)
    ):
        whole = "dataset.size_hw" if ctx.passes.tile is None else "eval.tile=null dataset.size_hw"
        key = whole if passes.tile is None else "eval.tile"
        raise CheckpointError(
            f"{path} takes images of {takes[0]}x{takes[1]} px, the evaluation shows {shown[0]}x{shown[1]}. Give "
            f"{key}=[{takes[0]},{takes[1]}]."
        )


def _words(model: Mapping[str, Any]) -> str:
    """A model by its builder, and by the architecture where that leaves the choice."""
    parts = [str(model.get("_target_", "")).rpartition(".")[2]]
    parts += [str(model[key]) for key in ("name", "arch", "encoder") if isinstance(model.get(key), str)]
    return "-".join(parts)
