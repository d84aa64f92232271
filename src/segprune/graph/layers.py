"""Kinds of layers."""

from torch import nn

Conv = nn.modules.conv._ConvNd


def is_depthwise(layer: nn.Module) -> bool:
    """Whether the layer makes one output channel of each input channel, by a filter of its own.

    Such a layer passes the channels of a group on; it makes none.
    """
    return isinstance(layer, Conv) and 1 < layer.groups == layer.in_channels == layer.out_channels


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
