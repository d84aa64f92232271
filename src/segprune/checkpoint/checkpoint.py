"""Checkpoints: weights in safetensors, everything else in JSON; nothing is ever unpickled.

A folder holds ``weights.safetensors`` and ``net.json``. Reading builds the dense network from the
configuration, replays the recorded transforms, and loads the weights strictly, so outputs are bit-equal. A file
that ``write`` cannot have written is refused.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from segprune.checkpoint.admission import (
    refuse_misfit,
    refuse_not_finite,
    refuse_other_plans,
    refuse_other_tensors,
    replayed,
    widths,
)
from segprune.checkpoint.contract import DESCRIPTION, WEIGHTS
from segprune.dataset.contract import SegData
from segprune.errors import CheckpointError
from segprune.graph.cut import fit_shapes
from segprune.measure.passes import Passes
from segprune.model.contract import SegmentationNet
from segprune.model.initial import weights_to_come
from segprune.transform.contract import Transform
from segprune.transform.cut import Cut, Plan
from segprune.transform.registry import from_record, to_record

FORMAT = 2
"""Format 1 knew cuts only, as ``plans``."""
LARGEST_DESCRIPTION = 16 << 20
"""Bytes; the removal of 50 000 channels takes half a million."""

Colour = Annotated[int, Field(ge=0, le=255)]


@dataclass(frozen=True)
class _Description:
    """The types of the keys that this program reads; the others are for people."""

    weights_sha256: str
    transforms: list[dict[str, Any]] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    palette: list[tuple[Colour, Colour, Colour]] | None = None
    size_hw: tuple[PositiveInt, PositiveInt] | None = None
    passes: Passes | None = None
    run_id: str | None = None
    training: str | None = None


_DESCRIPTION = TypeAdapter(_Description)


def prediction(data: SegData, passes: Passes) -> dict[str, Any]:
    """What a run says of how its networks are used, as plain values: size and passes of images, colours of classes.

    It is no part of what makes a network, so a network that a run reuses may say what an earlier run said.
    """
    return {
        "palette": data.palette,
        "size_hw": data.size_hw,
        "passes": None if passes.is_single else passes.record(),
    }


def write(
    folder: Path, net: SegmentationNet, *, transforms: Sequence[Transform], about: Mapping[str, Any]
) -> None:
    """Write a network into an existing folder.

    Args:
        folder: Where the two files go.
        net: Network in its present shape.
        transforms: What turned the dense network into it, in order.
        about: What a reader should know: configuration, fingerprint, versions; plain JSON values.

    Raises:
        CheckpointError: A weight is not finite.
        ConfigError: A transform is of a kind that no reader knows.
    """
    records = [to_record(made_by) for made_by in transforms]
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    refuse_not_finite(weights, source=folder)
    raw = save(weights)
    (folder / WEIGHTS).write_bytes(raw)
    description = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(raw).hexdigest(),
        "transforms": records,
        **about,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def read(
    folder: Path, build: Callable[[], SegmentationNet]
) -> tuple[SegmentationNet, tuple[Transform, ...], dict[str, Any]]:
    """The network, the transforms that turned the dense one into it, and its description.

    Cuts change widths alone. So those behind the last other transform are not replayed: the widths are read off the
    weights, which needs no trace of the network.

    Args:
        folder: Folder that ``write`` filled.
        build: Makes the dense network of the configuration.

    Raises:
        CheckpointError: A file is missing or damaged, of another format, or of another architecture.
    """
    description = describe(folder)
    transforms = _transforms(description, folder / DESCRIPTION)
    cuts = _last_cuts(transforms)
    with weights_to_come():
        net = build()
    for made_by in transforms[: len(transforms) - len(cuts)]:
        net = replayed(net, made_by, source=folder)
    weights = _read_weights(folder / WEIGHTS, net, description["weights_sha256"])
    refuse_other_tensors(net, weights, source=folder)
    dense = widths(net)
    fit_shapes(net, weights)
    load_strictly(net, weights, source=folder)
    refuse_not_finite(net.state_dict(), source=folder)
    refuse_other_plans([one.plan for one in cuts], dense, widths(net), source=folder)
    refuse_misfit(net, description.get("classes"), source=folder)
    return net, transforms, description


def load_strictly(net: SegmentationNet, weights: Mapping[str, Tensor], *, source: Path) -> None:
    """Load a state dict that must fit in names and shapes.

    Raises:
        CheckpointError: It does not fit.
    """
    try:
        net.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:400]
        raise CheckpointError(
            f"{source} does not hold a {type(net).__name__} of this configuration: {reason}. Choose the model "
            "and dataset that the checkpoint was made with."
        ) from error


def describe(folder: Path) -> dict[str, Any]:
    """The content of net.json, without the weights.

    Raises:
        CheckpointError: The description is missing, damaged, of a later format, or names an unknown transform.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(_bytes(path, LARGEST_DESCRIPTION))
    except OSError as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint: {DESCRIPTION} cannot be read ({error.strerror}). A checkpoint is a "
            f"folder with {DESCRIPTION} and {WEIGHTS}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    found = description.get("format") if isinstance(description, dict) else None
    if not isinstance(description, dict) or found not in (1, FORMAT):
        raise CheckpointError(
            f"{path} has format {found!r}; this version reads the formats 1 and {FORMAT}. Use the version that "
            "wrote it."
        )
    missing = {"weights_sha256", "plans" if found == 1 else "transforms"} - description.keys()
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))}; it is damaged")
    try:
        _DESCRIPTION.validate_python(description)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{path}: {where} is {first['input']!r:.80}; {first['msg'].lower()}. The file is damaged."
        ) from error
    _transforms(description, path)
    return description


def _transforms(description: Mapping[str, Any], source: Path) -> tuple[Transform, ...]:
    if description["format"] == 1:
        return tuple(Cut.from_json({"plan": plan}) for plan in description["plans"])
    return tuple(from_record(record, source=source) for record in description["transforms"])


def _last_cuts(transforms: Sequence[Transform]) -> list[Cut]:
    """The cuts that no other transform follows, in order."""
    cuts: list[Cut] = []
    for made_by in reversed(transforms):
        if not isinstance(made_by, Cut):
            break
        cuts.insert(0, made_by)
    return cuts


def _bytes(path: Path, largest: int) -> bytes:
    """The content of a file, or of one a link leads to.

    Raises:
        CheckpointError: It is a pipe or a device, or larger than a file of this network can be.
    """
    size = path.stat().st_size
    if not path.is_file() or size > largest:
        raise CheckpointError(
            f"{path} is no plain file of at most {largest} bytes, as one of this network would be; it has {size}"
        )
    return path.read_bytes()


def _read_weights(path: Path, net: nn.Module, sha256: str) -> dict[str, Tensor]:
    whole = net.state_dict().values()
    header = 1 << 20  # bytes; 100 for each tensor would do
    largest = header + sum(tensor.numel() * tensor.element_size() for tensor in whole)
    try:
        raw = _bytes(path, largest)
        if hashlib.sha256(raw).hexdigest() != sha256:
            raise CheckpointError(
                f"{path} does not have the checksum that {DESCRIPTION} records; the file is damaged "
                "or from another checkpoint. Delete the folder, and it is computed again."
            )
        weights: dict[str, Tensor] = load(raw)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (
        SafetensorError,
        KeyError,
        TypeError,
    ) as error:  # torch lacks a number format, or cannot count that far
        reason = str(error).split("\n")[0]
        raise CheckpointError(f"{path} cannot be read: {reason}; it is damaged") from error
    return weights
