"""Kinds of layers."""

from torch import nn

Conv = nn.modules.conv._ConvNd


def is_depthwise(layer: nn.Module) -> bool:
    """Whether the layer makes one output channel of each input channel, by a filter of its own.

    Such a layer passes the channels of a group on; it makes none.
    """
    return isinstance(layer, Conv) and 1 < layer.groups == layer.in_channels == layer.out_channels
