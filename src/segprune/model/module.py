"""A network of somebody's own code, or of a library's, by the name of what makes it."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from torch import nn
from torch.nn.parameter import is_lazy

from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet
from segprune.model.existing_weights import load_existing
from segprune.model.wrapped import Statistics, Wrapped


def module(  # noqa: PLR0913 - each one is a key
    *,
    factory: str,
    args: dict[str, Any] | None,
    classes_as: str | None,
    out: str | int | None,
    aux: str | int | None,
    training_only: Sequence[str],
    mean: Statistics,
    std: Statistics,
    checkpoint: Path | None,
    allow: Sequence[str],
    num_classes: PositiveInt,
) -> SegmentationNet:
    """What a factory makes, with the weights of a file.

    Args:
        factory: ``package.module:name`` of a class or function that makes a ``torch.nn.Module``.
        args: Its arguments.
        classes_as: The argument that takes the number of classes; None: it takes none.
        out: Key or place of the logits in the output, as in ``Wrapped``.
        aux: Key or place of logits that training adds to the loss, likewise.
        training_only: Dotted names of what only training uses.
        mean: Of the images that the weights were made for: three numbers, ``imagenet`` or ``none``.
        std: Likewise.
        checkpoint: File with its weights.
        allow: Patterns of names in which file and network may differ.
        num_classes: K.

    Raises:
        ConfigError: The factory cannot be imported or called, or gives no module.
        CheckpointError: The file cannot be read, or does not fit.
    """
    arguments = {**(args or {}), **({classes_as: num_classes} if classes_as else {})}
    net = made(factory, found(factory), arguments)
    load_existing(net, checkpoint, allow=allow)
    if isinstance(net, SegmentationNet):
        return net
    return Wrapped(
        net, num_classes=num_classes, out=out, aux=aux, training_only=training_only, mean=mean, std=std
    )


def found(factory: str) -> Callable[..., Any]:
    """What ``package.module:name`` names.

    Raises:
        ConfigError: It cannot be imported.
    """
    place, colon, name = factory.partition(":")
    if not colon or not place or not name:
        raise ConfigError(
            f"model.factory is {factory!r}; give package.module:name, such as my_package.nets:build."
        )
    try:
        made_by: Any = importlib.import_module(place)
        for part in name.split("."):
            made_by = getattr(made_by, part)
    except Exception as error:  # whatever somebody's module raises
        raise ConfigError(
            f"model.factory is {factory!r}, which cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(made_by):
        raise ConfigError(
            f"model.factory is {factory!r}, which is a {type(made_by).__name__} and makes nothing."
        )
    return made_by  # type: ignore[no-any-return]


OWN_KEYS = (
    "model.args, or model.classes_as, which names the argument that takes the number of classes "
    "(null: none does)"
)
"""What a wrong argument of a factory of one's own is mended by."""


def made(
    what: str,
    factory: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    keys: str = OWN_KEYS,
    weights: str = "none",
) -> nn.Module:
    """The module that a factory makes.

    Args:
        what: What is made, for messages.
        factory: Is called with the arguments.
        arguments: By name.
        keys: Which keys of the configuration the arguments come from.
        weights: What it loads, perhaps by a download; ``none``: nothing.

    Raises:
        ConfigError: It cannot be called so, or gives something else, or a network without shapes or weights, or a
            compiled one.
    """
    try:
        net = factory(**arguments)
    except ConfigError:
        raise
    except OSError as error:
        if weights == "none":
            raise ConfigError(_not_made(what, arguments, error, keys)) from error
        raise ConfigError(
            f"model.weights is {weights}, which cannot be loaded ({_said(error)}). Without a network, give "
            "model.weights=none or model.checkpoint."
        ) from error
    except Exception as error:  # whatever a foreign factory raises
        raise ConfigError(_not_made(what, arguments, error, keys)) from error
    if not isinstance(net, nn.Module):
        raise ConfigError(
            f"{what} gives an object of the kind {type(net).__name__}, which is no torch.nn.Module."
        )
    if lazy := [name for name, tensor in net.state_dict(keep_vars=True).items() if is_lazy(tensor)]:
        raise ConfigError(
            f"{what} gives a network in which {', '.join(lazy[:3])} and so on have no shape yet. Run it once on an "
            "image before it is given."
        )
    _refuse_program(what, net)
    return net


def _refuse_program(what: str, net: nn.Module) -> None:
    """Check that a network has weights and runs as Python: what is compiled is neither followed nor counted."""
    if next(net.parameters(), None) is None:
        raise ConfigError(
            f"{what} gives a network without parameters, so there is nothing to train or to cut."
        )
    for name, part in net.named_modules():
        where = f"a network with {name}" if name else "a network"
        if isinstance(part, torch.jit.ScriptModule):
            raise ConfigError(
                f"{what} gives {where} in TorchScript: it can be neither trained, cut nor counted here. Let it "
                "give the module as it was before torch.jit.script, torch.jit.trace or torch.jit.save."
            )
        if "_orig_mod" in part._modules or part._compiled_call_impl is not None:
            raise ConfigError(
                f"{what} gives {where} compiled by torch.compile: every copy would be compiled again. Let it give "
                "the module as it was before; train.compile=true compiles it for training."
            )


def _not_made(what: str, arguments: Mapping[str, Any], error: Exception, keys: str) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{what} cannot be made with {given} ({_said(error)}). Change {keys}."


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
