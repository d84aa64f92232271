"""Checkpoints: weights in safetensors, everything else in JSON; nothing is ever unpickled.

A folder holds ``weights.safetensors`` and ``net.json``. Reading builds the dense network from the
configuration, fits its shapes to the weights and loads them strictly, so outputs are bit-equal.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from segprune.errors import CheckpointError
from segprune.graph.cut import fit_shapes
from segprune.graph.group import PrunePlan
from segprune.model.contract import SegmentationNet

FORMAT = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "net.json"


def write(
    folder: Path,
    net: SegmentationNet,
    *,
    plans: tuple[PrunePlan, ...],
    about: Mapping[str, Any],
) -> None:
    """Write a network into an existing folder.

    Args:
        folder: Where the two files go.
        net: Network in its present, possibly cut, shape.
        plans: Every cut since the dense network, in order.
        about: What a reader should know: configuration, fingerprint, versions; plain JSON values.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    description = {
        "format": FORMAT,
        "weights_sha256": _sha256(folder / WEIGHTS),
        "plans": [{name: list(channels) for name, channels in plan.items()} for plan in plans],
        **about,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def read(
    folder: Path, build: Callable[[], SegmentationNet]
) -> tuple[SegmentationNet, tuple[PrunePlan, ...], dict[str, Any]]:
    """The network, its plans and its description.

    Args:
        folder: Folder that ``write`` filled.
        build: Makes the dense network of the configuration.

    Raises:
        CheckpointError: A file is missing or damaged, of another format, or of another architecture.
    """
    description = describe(folder)
    try:
        raw = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(raw).hexdigest() != description["weights_sha256"]:
            raise CheckpointError(
                f"{folder / WEIGHTS} does not have the checksum that {DESCRIPTION} records; the file is damaged "
                "or from another checkpoint. Delete the folder to have it made again."
            )
        weights = load(raw)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    net = build()
    fit_shapes(net, weights)
    load_strictly(net, weights, source=folder)
    plans = tuple({name: tuple(channels) for name, channels in plan.items()} for plan in description["plans"])
    return net, plans, description


def load_strictly(net: SegmentationNet, weights: Mapping[str, torch.Tensor], *, source: Path) -> None:
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
    """What a checkpoint says of itself, without its weights.

    Raises:
        CheckpointError: The description is missing, damaged or of another format.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint: {DESCRIPTION} cannot be read ({error.strerror}). A checkpoint is a "
            f"folder with {DESCRIPTION} and {WEIGHTS}."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        raise CheckpointError(f"{path} has format {found}; this version reads format {FORMAT}")
    missing = {"weights_sha256", "plans"} - description.keys()
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))}; it is damaged")
    return description


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
