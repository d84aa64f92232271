"""The networks of segmentation_models_pytorch: a decoder on an encoder, both by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from segprune.errors import ConfigError
from segprune.model.existing_weights import load_existing
from segprune.model.initial import are_to_come
from segprune.model.module import made
from segprune.model.wrapped import Statistics, Wrapped


def smp(  # noqa: PLR0913 - each one is a key
    *,
    arch: str,
    encoder: str,
    weights: Literal["none", "imagenet"],
    args: dict[str, Any] | None,
    mean: Statistics,
    std: Statistics,
    checkpoint: Path | None,
    allow: Sequence[str],
    num_classes: PositiveInt,
) -> Wrapped:
    """A network of segmentation_models_pytorch.

    Args:
        arch: Name of the architecture, such as ``Unet``.
        encoder: Name of the encoder, such as ``resnet34``; ``tu-<name>`` is one of timm.
        weights: Of the encoder: ``imagenet`` downloads them.
        args: Other arguments of the architecture.
        mean: Of the images that the weights were made for: three numbers, ``imagenet`` or ``none``.
        std: Likewise.
        checkpoint: File with the weights of the whole network.
        allow: Patterns of names in which file and network may differ.
        num_classes: K.

    Raises:
        ConfigError: The package is not installed, there is no such network, or the download failed.
        CheckpointError: The file cannot be read, or does not fit.
    """
    try:
        import segmentation_models_pytorch as library
    except ImportError as error:
        raise ConfigError(
            "model is smp, which needs another package: pip install 'segprune[smp]'."
        ) from error
    if arch.lower() not in library.MODEL_ARCHITECTURES_MAPPING:
        raise ConfigError(
            f"model.arch is {arch!r}; it must be one of "
            f"{', '.join(kind.__name__ for kind in library.MODEL_ARCHITECTURES_MAPPING.values())}."
        )
    arguments = {
        **(args or {}),
        "arch": arch,
        "encoder_name": encoder,
        "encoder_weights": None if weights == "none" or are_to_come() else weights,
        "classes": num_classes,
    }
    net = made(
        f"{arch} on {encoder}",
        library.create_model,
        arguments,
        keys="model.encoder or model.args",
        weights=weights,
    )
    load_existing(net, checkpoint, allow=allow)
    return Wrapped(net, num_classes=num_classes, mean=mean, std=std)
