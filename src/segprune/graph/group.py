"""Channels that must be removed together, and plans of removal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Scores = Mapping[str, Tensor]
"""Group name -> (C,) float, finite; higher = keep."""

PrunePlan = Mapping[str, tuple[int, ...]]
"""Group name -> channels to remove, sorted, each in 0..C-1, whole units. A group without an entry stays whole."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One side of one layer that carries the channels of a group.

    Attributes:
        layer: Dotted module name in the network.
        axis: ``out``: the layer makes these channels (conv, norm); ``in``: it reads them; ``scale``: it only
            rescales what others make, as the last layer of squeeze-and-excitation does.
        own: (M,) int64, channel positions in this layer.
        root: (M,) int64, the group channel 0..C-1 that sits at each of those positions.
    """

    layer: str
    axis: Literal["out", "in", "scale"]
    own: Tensor
    root: Tensor


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """Channels that must be removed together: a residual stream, or one convolution and what reads it.

    Attributes:
        name: Dotted name of the root layer, whose output channel c is the group's channel c.
        size: C, number of channels.
        units: (C,) int64, the number of the unit that a channel is in, where channels go only together with others
            of theirs (``graph.units``); None where each goes by itself.
        members: Every layer side that carries these channels. A convolution and the norm behind it are both
            members with axis ``out``; the convolutions that read the channels have axis ``in``.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    units: Tensor | None = None
