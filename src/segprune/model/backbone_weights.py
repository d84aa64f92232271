"""Pretrained weights of a backbone: from torchvision's download or from a file, always checked in full."""

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from segprune.errors import CheckpointError, ConfigError
from segprune.model.initial import are_to_come
from segprune.model.unreadable import why_unreadable

Weights = Literal["none", "imagenet"] | Path
"""``none``: as initialised; ``imagenet``: the published weights; else the path of a state dict."""

SHOWN_KEYS = 3
# what torch.load and load_file raise on files with random bytes changed, and on a download that fails
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
    SafetensorError,
)


def load_backbone(
    backbone: nn.Module,
    weights: Weights,
    *,
    imagenet: Callable[[], Mapping[str, Tensor]],
    not_used: Sequence[str],
    rename: Callable[[str], str] = str,
) -> None:
    """Load the weights of ``model.weights`` into ``backbone``, in place, unless inside ``weights_to_come``.

    Args:
        backbone: Any module; all its parameters and buffers must be in the weights.
        weights: Value of the key ``model.weights``.
        imagenet: Gives the state dict of ``imagenet``; called for that value only.
        not_used: Prefixes of keys that the backbone lacks, e.g. the classifier's.
        rename: Key in the weights -> key in the backbone, for weights of another library.

    Raises:
        ConfigError: The file is missing or is no .pth, .pt or .safetensors.
        CheckpointError: The file is damaged, a key or shape does not match, or a tensor is not of finite numbers.
    """
    if weights == "none" or are_to_come():
        return
    state = imagenet() if weights == "imagenet" else read_state_dict(Path(weights))
    state = {rename(key): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if not key.startswith(tuple(not_used))}
    problems = [*_mismatches(backbone.state_dict(), state), *unusable(backbone, state)]
    if problems:
        raise CheckpointError(
            f"model.weights is {weights}, which does not fit the backbone: {'; '.join(problems)}; "
            "give the weights of this very backbone"
        )
    backbone.load_state_dict(state)


def resnet_imagenet(depth: Literal[50, 101]) -> Mapping[str, Tensor]:
    """State dict of torchvision's ImageNet ResNet, from its cache or downloaded.

    Source: torchvision IMAGENET1K_V1, the weights its own segmentation networks start from.

    Raises:
        ConfigError: The download failed.
    """
    from torchvision.models import ResNet50_Weights, ResNet101_Weights

    published = {50: ResNet50_Weights, 101: ResNet101_Weights}[depth].IMAGENET1K_V1
    try:
        state: Mapping[str, Tensor] = published.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    except UNREADABLE as error:
        raise ConfigError(
            f"model.weights is imagenet, but {published.url} could not be fetched ({error}); fetch that file "
            "by other means and set model.weights to its path, or to none"
        ) from error
    return state


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors file, or of a .pth or .pt file that holds nothing else.

    Raises:
        ConfigError: No such file, or another suffix.
        CheckpointError: The file cannot be read, or holds something other than named tensors.
    """
    if path.suffix not in {".pth", ".pt", ".safetensors"}:
        raise ConfigError(
            f"model.weights is {path}; it must be none, imagenet or a .pth, .pt or .safetensors file"
        )
    if not path.is_file():
        raise ConfigError(f"model.weights is {path}, which is no file; give the path of a state dict")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _load_pth(path)
    except UNREADABLE as error:
        raise CheckpointError(f"model.weights: {path} {why_unreadable(path, error)}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"model.weights: {path} holds something other than named tensors; save only net.state_dict()"
        )
    return dict(state)


def unusable(own: nn.Module, given: Mapping[str, Tensor]) -> list[str]:
    """One phrase if tensors for a module's floating-point ones are none, or hold what no training leaves there.

    Infinite values are let through in buffers, where they may be a mask.

    Args:
        own: The module.
        given: Name -> tensor.
    """
    parameters = dict(own.named_parameters())
    wrong = []
    for name, tensor in own.state_dict().items():
        value = given.get(name)
        if value is None or not tensor.is_floating_point():
            continue
        if value.layout is not torch.strided or not value.is_floating_point():
            wrong.append(f"{name} ({value.layout if value.is_floating_point() else value.dtype})")
        elif not (value.float().isfinite() if name in parameters else ~value.float().isnan()).all():
            wrong.append(f"{name} (not finite)")
    if not wrong:
        return []
    return [f"{len(wrong)} not of finite floating-point numbers: {_first(wrong)}"]


def _load_pth(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _mismatches(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """One phrase per kind of mismatch; empty if every tensor fits."""
    # weights older than PyTorch 0.4.1 have no counters, and nothing reads them
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    other_shape = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in own.items()
        if key in given and given[key].shape != tensor.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": other_shape}
    return [f"{len(keys)} {kind}: {_first(keys)}" for kind, keys in kinds.items() if keys]


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN_KEYS]) + (", ..." if len(keys) > SHOWN_KEYS else "")
