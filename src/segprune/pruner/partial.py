"""Groups that a criterion cannot score: they stay whole, and the others are cut."""

from collections.abc import Iterable, Mapping, Sequence, Set

import torch

from segprune.graph.group import ChannelGroup
from segprune.graph.units import by_unit
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Partial


def unscored(
    criterion: Iterable[object],
    net: SegmentationNet,
    groups: Sequence[ChannelGroup],
    size_hw: tuple[int, int],
) -> dict[str, str]:
    """Names of the groups that a criterion or its training phase cannot work on -> why.

    Args:
        criterion: Both, or one of them.
        net: Left as it was.
        groups: All that can be cut.
        size_hw: (H, W) in px of images that the network runs on.
    """
    image = torch.zeros(1, net.bands, *size_hw, device=net.mean.device)
    seen = [by_unit(group) for group in groups]
    found: dict[str, str] = {}
    for one in criterion:
        found |= one.unscored(net, seen, image) if isinstance(one, Partial) else {}
    return found


def scorable(groups: Iterable[ChannelGroup], whole: Mapping[str, str] | Set[str]) -> tuple[ChannelGroup, ...]:
    """The groups that do not stay whole."""
    return tuple(group for group in groups if group.name not in whole)
