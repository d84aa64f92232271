"""Kinds of layers."""

from collections.abc import Sequence

from torch import nn

Conv = nn.modules.conv._ConvNd
Norm = nn.modules.batchnorm._NormBase


def is_depthwise(layer: nn.Module) -> bool:
    """Whether the layer makes one output channel of each input channel, by a filter of its own.

    Such a layer passes the channels of a group on; it makes none.
    """
    return isinstance(layer, Conv) and 1 < layer.groups == layer.in_channels == layer.out_channels


def is_layer(module: nn.Module) -> bool:
    """Whether a module has a width of its own: a convolution, a linear layer or a norm of single channels."""
    return isinstance(module, Conv | nn.Linear | Norm)


def parts_of(net: nn.Module, layers: Sequence[str]) -> list[str]:
    """The largest modules of a network that have some of these layers and no others.

    Their names are those in the module that ``model.wrapped`` wraps, if that is what the network is.
    """
    found: list[str] = []
    for name, module in net.named_modules():
        inner = {f"{name}.{one}".strip(".") for one, layer in module.named_modules() if is_layer(layer)}
        if inner and inner <= {*layers} and not name.startswith(tuple(f"{one}." for one in found)):
            found.append(name)
    return [name.removeprefix("net.") for name in found]


def channel_axis(layer: nn.Module, parameter: str, side: str) -> int | None:
    """The axis of a layer's parameter that has one entry per channel it makes or reads; None where none has.

    Args:
        layer: A layer that can be in a channel group.
        parameter: ``weight`` or ``bias``.
        side: Axis of a group's member: ``out``, ``in`` or ``scale``.
    """
    is_transposed = isinstance(layer, Conv) and layer.transposed and not is_depthwise(layer)
    if side != "in":
        return int(is_transposed and parameter == "weight")
    reads = isinstance(layer, Conv | nn.Linear) and not is_depthwise(layer) and parameter == "weight"
    return int(not is_transposed) if reads else None
