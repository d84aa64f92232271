"""All segmentation networks of torchvision, by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt
from torchvision.models import get_model, list_models, segmentation

from segprune.errors import ConfigError
from segprune.model.existing_weights import load_existing
from segprune.model.initial import are_to_come
from segprune.model.module import made
from segprune.model.wrapped import Statistics, Wrapped


def torchvision(  # noqa: PLR0913 - each one is a key
    *,
    name: str,
    weights: Literal["none", "imagenet"],
    aux: bool,
    mean: Statistics,
    std: Statistics,
    checkpoint: Path | None,
    allow: Sequence[str],
    num_classes: PositiveInt,
) -> Wrapped:
    """A segmentation network of torchvision.

    Args:
        name: Of the network, such as ``lraspp_mobilenet_v3_large``.
        weights: Of the backbone: ``imagenet`` downloads them.
        aux: Whether training adds the loss of an auxiliary head, where the network has one.
        mean: Of the images that the weights were made for: three numbers, ``imagenet`` or ``none``.
        std: Likewise.
        checkpoint: File with the weights of the whole network.
        allow: Patterns of names in which file and network may differ.
        num_classes: K.

    Raises:
        ConfigError: There is no such network, or the download failed.
        CheckpointError: The file cannot be read, or does not fit.
    """
    names = list_models(module=segmentation)
    if name not in names:
        raise ConfigError(f"model.name is {name!r}; it must be one of {', '.join(names)}.")
    has_aux = aux and not name.startswith("lraspp")
    arguments = {
        "weights": None,
        "weights_backbone": None if weights == "none" or are_to_come() else "DEFAULT",
        "num_classes": num_classes,
        **({"aux_loss": True} if has_aux else {}),
    }
    net = made(name, lambda **given: get_model(name, **given), arguments, keys="model.name", weights=weights)
    load_existing(net, checkpoint, allow=allow)
    only = ("aux_classifier",) if has_aux else ()
    aux_key = "aux" if has_aux else None
    return Wrapped(
        net, num_classes=num_classes, out="out", aux=aux_key, training_only=only, mean=mean, std=std
    )
