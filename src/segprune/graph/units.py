"""Channels that go only together: whole groups of a norm, the same place in every group of a convolution, heads."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from segprune.graph.group import ChannelGroup, Member
from segprune.graph.layers import Conv, is_depthwise


def unit_of(group: ChannelGroup) -> Tensor:
    """(C,) int64: the number of the unit that each channel is in."""
    return torch.arange(group.size) if group.units is None else group.units


def first_of(group: ChannelGroup) -> Tensor:
    """(U,) int64: the first channel of each unit."""
    if group.units is None:
        return torch.arange(group.size)
    count = int(group.units.max()) + 1
    return torch.full((count,), group.size).scatter_reduce(
        0, group.units, torch.arange(group.size), "amin", include_self=False
    )


def together(group: ChannelGroup, channels: Iterable[int]) -> tuple[int, ...]:
    """The channels, and all that go only with them, sorted."""
    if group.units is None:
        return tuple(sorted(channels))
    gone = group.units[torch.tensor(list(channels), dtype=torch.int64)]
    return tuple(torch.isin(group.units, gone).nonzero().flatten().tolist())


def by_unit(group: ChannelGroup) -> ChannelGroup:
    """The group as criteria see it: each of its units is one channel, at several positions of a layer."""
    if group.units is None:
        return group
    members = (replace(member, root=group.units[member.root]) for member in group.members)
    return ChannelGroup(name=group.name, size=int(group.units.max()) + 1, members=tuple(members))


def joined(
    group: ChannelGroup, net: nn.Module, heads: Iterable[tuple[Tensor, Tensor]] = ()
) -> ChannelGroup | str:
    """A group with the units that its norms, convolutions and heads make, or why none of it can go.

    The statistics of a GroupNorm do not change where all channels of some of its groups go. A convolution in groups
    keeps as many channels in each where the same places go in all of them. What heads go only as wholes is told by
    the views of their channels.

    Args:
        group: Without units.
        net: Whose layers its members are.
        heads: (M,) channels and (M,) pieces of them that go only as wholes.
    """
    found = [(member.root, _pieces(net.get_submodule(member.layer), member)) for member in group.members]
    pieces = [*((root, piece) for root, piece in found if isinstance(piece, Tensor)), *heads]
    reason = next((piece for _, piece in found if isinstance(piece, str)), None)
    if reason or not pieces:
        return reason or group
    firsts, units = torch.unique(_labels(group.size, pieces), return_inverse=True)
    if len(firsts) == 1:
        return "all of its channels go only together (norms or convolutions in groups, one head)"
    return group if len(firsts) == group.size else replace(group, units=units)


def _labels(size: int, pieces: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """(C,) int64: for each channel the lowest one that it goes together with, through any chain of pieces.

    Args:
        size: C.
        pieces: Of each layer the (M,) channels at its positions, and the (M,) pieces that these are in.
    """
    label = torch.arange(size)
    while True:
        before = label
        for root, piece in pieces:
            lowest = torch.full((int(piece.max()) + 1,), size).scatter_reduce(0, piece, label[root], "amin")
            label = label.scatter_reduce(0, root, lowest[piece], "amin")
        if torch.equal(before, label):
            return label


def _pieces(layer: nn.Module, member: Member) -> Tensor | str | None:
    """(M,) int64: which piece of a layer each position is in; a reason if nothing can go; None: each can."""
    if isinstance(layer, nn.GroupNorm):
        if not layer.affine:
            return "a GroupNorm without weights, whose width no file would say"
        each, piece = (
            layer.num_channels // layer.num_groups,
            member.own // (layer.num_channels // layer.num_groups),
        )
    elif isinstance(layer, Conv) and layer.groups > 1 and not is_depthwise(layer):
        if layer.transposed:
            return "a transposed convolution in groups"
        width = layer.in_channels if member.axis == "in" else layer.out_channels
        each, piece = layer.groups, member.own % (width // layer.groups)
    else:
        return None
    count = torch.bincount(piece)
    return (
        piece
        if set(count.tolist()) <= {0, each}
        else "its norms or convolutions in groups join it with other layers"
    )
