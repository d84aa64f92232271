"""From a network to its channel groups: which channels must be removed together, proven by a cut."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from segprune.graph.dependency import sight, structure
from segprune.graph.group import ChannelGroup
from segprune.graph.grouping import Grouped, Whole, grouped
from segprune.graph.kept import Kept
from segprune.graph.layers import Conv, is_depthwise
from segprune.graph.proof import unproven
from segprune.model.contract import SegmentationNet


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The channels of a network.

    Attributes:
        groups: What can be cut, in the order of its layers.
        whole: What stays whole, and why, likewise; the logits and training-only parts are not listed.
        channels: Output channels of all layers that make some, but for these.
    """

    groups: tuple[ChannelGroup, ...]
    whole: tuple[Whole, ...]
    channels: int

    @property
    def share(self) -> float:
        """Fraction of the channels that can be cut."""
        return 1 - sum(one.channels for one in self.whole) / max(self.channels, 1)


_FOLLOWED: Kept[Followed] = Kept(16)


def trace(net: SegmentationNet) -> tuple[ChannelGroup, ...]:
    """The groups of channels that can be cut, in the order of the network's layers."""
    return followed(net).groups


def followed(net: SegmentationNet) -> Followed:
    """The channels of a network: which can be cut, and which stay whole and why. The network stays as it is.

    What torch-pruning cannot follow stays whole, and so does what a trial cut gets wrong. Which those are depends
    on the structure of the network alone, not on its weights.

    Raises:
        ConfigError: A layer runs in training or evaluation that the trace did not see, so that it would keep its
            width; or nothing can be followed.
    """
    return _FOLLOWED(structure(net), lambda: _proven(net))


def _proven(net: SegmentationNet) -> Followed:
    found = grouped(net)
    return _summary(net, found, unproven(net, found.groups))


def _summary(net: SegmentationNet, found: Grouped, bad: Mapping[str, str]) -> Followed:
    layers = dict(net.named_modules())
    wrong = [
        Whole(
            layer=group.name,
            channels=sum(
                found.widths.get(member.layer, 0) for member in group.members if member.axis == "out"
            ),
            reason=bad[group.name],
        )
        for group in found.groups
        if group.name in bad
    ]
    closed = [
        Whole(layer=part, channels=_made_in(layers[part]), reason=reason)
        for part, reason in sight(net).reasons.items()
    ]
    order = {name: index for index, name in enumerate(layers)}
    return Followed(
        groups=tuple(group for group in found.groups if group.name not in bad),
        whole=tuple(sorted((*found.whole, *wrong, *closed), key=lambda one: order[one.layer])),
        channels=sum(found.widths.values()) + sum(one.channels for one in closed),
    )


def _made_in(part: nn.Module) -> int:
    """Output channels of all layers of a part that make some."""
    return sum(
        layer.out_channels if isinstance(layer, Conv) else layer.out_features
        for layer in part.modules()
        if isinstance(layer, Conv | nn.Linear) and not is_depthwise(layer)
    )
