"""A cut network with some of its removed channels back as zeros: wider, and it predicts what it did before."""

from collections.abc import Sequence

import torch

from segprune.graph.cut import cut
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.units import together
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate


@torch.no_grad()
def padded(
    net: SegmentationNet,
    dense: SegmentationNet,
    groups: Sequence[ChannelGroup],
    plans: Sequence[PrunePlan],
    multiple: int,
) -> SegmentationNet:
    """A copy of a cut network whose layers have a multiple of so many channels, or as many as the dense ones had.

    Channels that come back have zeros for weights wherever they are made and wherever they are read.

    Args:
        net: The cut network.
        dense: The network it was cut from; only its shapes matter.
        groups: Those of the dense network.
        plans: What was cut from the dense network, each in the channels that the ones before it left.
        multiple: E.g. 8.
    """
    wide_plan, narrow_plan = _detour(groups, plans, multiple)
    wide = cut(dense, wide_plan)
    places = cut(
        _numbered(wide), narrow_plan
    ).state_dict()  # where each number of the cut network is in the wide one
    whole, small = wide.state_dict(), net.state_dict()
    for name, place in places.items():
        target = torch.zeros_like(whole[name], dtype=small[name].dtype)
        target.view(-1)[place.flatten().long()] = small[name].flatten().to(target.device)
        whole[name].copy_(target)
    return wide.to(next(net.parameters()).device).train(net.training)


def _detour(
    groups: Sequence[ChannelGroup], plans: Sequence[PrunePlan], multiple: int
) -> tuple[PrunePlan, PrunePlan]:
    """Two cuts in place of the plans: the first leaves multiples, the second takes from these what is too much."""
    wide, narrow = {}, {}
    for group in groups:
        left = list(range(group.size))
        for plan in plans:
            gone = {*plan.get(group.name, ())}
            left = [channel for position, channel in enumerate(left) if position not in gone]
        removed = sorted({*range(group.size)} - {*left})
        back: tuple[int, ...] = ()
        for channel in removed:
            if (len(left) + len(back)) % multiple == 0:
                break
            back = together(group, {*back, channel})
        stay = sorted([*left, *back])
        wide[group.name] = tuple(channel for channel in removed if channel not in {*back})
        narrow[group.name] = tuple(position for position, channel in enumerate(stay) if channel in {*back})
    return wide, narrow


def _numbered(net: SegmentationNet) -> SegmentationNet:
    """A copy in which every tensor holds the positions of its numbers."""
    numbered = duplicate(net).cpu().double()  # which counts to 2**53
    for tensor in (*numbered.parameters(), *numbered.buffers()):
        tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape))
    return numbered
