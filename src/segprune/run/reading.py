"""The network of a checkpoint, for the data of a run."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segprune.checkpoint import checkpoint
from segprune.errors import CheckpointError
from segprune.model.contract import SegmentationNet
from segprune.model.copies import ready
from segprune.run.ancestry import UNKNOWN
from segprune.stage.contract import Context
from segprune.stage.state import NetState
from segprune.store import manifest
from segprune.store.code import code_of
from segprune.store.fingerprint import fingerprint
from segprune.transform.contract import Transform
from segprune.transform.cut import Cut
from segprune.transform.registry import to_record

USUAL_BANDS = "3 bands of 8 bits"


def state_of(
    ctx: Context, folder: Path, build: Callable[[], SegmentationNet], model: Mapping[str, Any] | None = None
) -> NetState:
    """The network of a checkpoint, ready to run, by no name yet.

    Args:
        ctx: The run.
        folder: The checkpoint.
        build: Makes its dense network.
        model: What that is, where it is not that of the run.

    Raises:
        CheckpointError: It is damaged, or was made for other classes or bands than the dataset has.
    """
    classes = checkpoint.describe(folder).get("classes")
    if classes != ctx.about["classes"]:
        raise CheckpointError(
            f"{folder} was made for the classes {classes}, the dataset has {ctx.about['classes']}. Choose the "
            "dataset that the checkpoint was made with."
        )
    _refuse_other_bands(folder, ctx)
    net, transforms, about = checkpoint.read(folder, build)
    made_with = {**ctx.about, **({"model": model} if model is not None else {})}
    content = fingerprint("checkpoint", _inputs(made_with, about, transforms))
    return NetState(
        name=UNKNOWN,
        net=ready(net, ctx.hardware.device),
        transforms=transforms,
        fingerprint=_of_entry(folder, about) or content,
        folder=folder,
        training=about.get("training"),
    )


def _of_entry(folder: Path, about: Mapping[str, Any]) -> str:
    """The fingerprint of a result of a store that is as it was made, so that what follows it is shared.

    Empty for any other one.
    """
    sealed, key = manifest.read(folder), about.get("fingerprint")
    if sealed is None or not key or manifest.damage(folder, stage=sealed.stage, fingerprint=key):
        return ""
    return str(key)


def _refuse_other_bands(folder: Path, ctx: Context) -> None:
    """Refuse a checkpoint whose images had other bands, or were normalised by other numbers.

    Raises:
        CheckpointError: They had.
    """
    made, here = (about.get("bands") for about in (checkpoint.describe(folder), ctx.about))
    if json.loads(json.dumps(here)) == made:
        return
    keys = ("dataset.bands", "dataset.mean", "dataset.std")
    remedy = "images as those that it was made with"
    if made is not None:
        values = (made["count"], list(made["mean"]), list(made["std"]))
        remedy = " ".join(f"'{key}={value}'" for key, value in zip(keys, values, strict=True))
    raise CheckpointError(
        f"{folder} was made for images of {made or USUAL_BANDS}, the dataset has {here or USUAL_BANDS}. "
        f"Give {remedy}."
    )


def _inputs(
    made_with: Mapping[str, Any], about: Mapping[str, Any], transforms: Sequence[Transform]
) -> dict[str, Any]:
    """What identifies a network from a checkpoint; a transform that is no cut counts with its values and code."""
    inputs = {"weights": about["weights_sha256"], "about": made_with}
    others = [made_by for made_by in transforms if not isinstance(made_by, Cut)]
    if not others:
        return inputs
    code = code_of({type(made_by).__module__ for made_by in others})
    return {**inputs, "transforms": [to_record(made_by) for made_by in transforms], **code}
