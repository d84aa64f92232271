"""From a network to its channel groups: which channels must be removed together."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from segprune.graph.group import ChannelGroup
from segprune.graph.grouping import TOGETHER, groups_of, made_by
from segprune.graph.layers import makes_channels, width_of
from segprune.graph.proof import unproven
from segprune.graph.wiring import LOGITS, TRACE_SIZE_HW, Wiring, wiring
from segprune.model.contract import SegmentationNet

SHOWN = 4
_VERDICTS: dict[str, Mapping[str, str]] = {}
"""What runs in which network -> its groups that trial cuts get wrong, since a run asks several times."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A layer whose channels stay.

    Attributes:
        layer: Dotted name.
        channels: How many it makes.
        reason: Why.
    """

    layer: str
    channels: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What of a network can be cut.

    Attributes:
        groups: The channel groups, each proven by a trial cut.
        whole: The layers that keep all their channels, but for those that make the logits or only serve training.
        share: Fraction of the output channels of all convolutions and linear layers behind the logits that can be
            removed, depthwise ones left out.
    """

    groups: tuple[ChannelGroup, ...]
    whole: tuple[Whole, ...]
    share: float

    def __str__(self) -> str:
        """In one line."""
        line = f"{self.share:.0%} of all channels can be cut"
        if not self.whole:
            return line
        counts = Counter(one.reason for one in self.whole)
        first = {one.reason: one.layer for one in reversed(self.whole)}
        parts = [
            f"{first[reason]}{f' and {count - 1} more' if count > 1 else ''} ({reason})"
            for reason, count in counts.most_common(SHOWN)
        ]
        rest = len(counts) - SHOWN
        more = f", and others for {rest} more reason{'s' if rest > 1 else ''}" if rest > 0 else ""
        return f"{line}; whole: {', '.join(parts)}{more}"


def trace(net: SegmentationNet, size_hw: tuple[int, int] = TRACE_SIZE_HW) -> tuple[ChannelGroup, ...]:
    """The channel groups of a network, as ``survey`` finds them."""
    return survey(net, size_hw).groups


def survey(net: SegmentationNet, size_hw: tuple[int, int] = TRACE_SIZE_HW) -> Survey:
    """What of a network can be cut, and what has to stay for which reason; the network stays as it is.

    Args:
        net: The network.
        size_hw: (H, W) in px of the images that it is followed on.

    Raises:
        ConfigError: It cannot run on images of this size, or runs too many operations.
    """
    wired = wiring(net, size_hw)
    groups = groups_of(net, wired)
    bad = _verdict(net, wired, groups, size_hw)
    proven = tuple(group for group in groups if group.name not in bad)
    left = {unit: reason for group in groups for unit, reason in _faults(net, wired, group, bad)}
    cuttable = {unit for group in proven for unit in _units(net, wired, group)}
    layers = [
        (name, layer)
        for name, layer in net.named_modules()
        if makes_channels(layer) and name in wired.reaching and not net.only_trains(name)
    ]
    whole, total = list[Whole](), 0
    for name, layer in layers:
        width, units = width_of(layer), made_by(name, layer, wired)
        stay = [] if units is None else [unit for unit in units.tolist() if unit not in cuttable]
        total += width
        if units is None and width > 1:
            whole.append(
                Whole(layer=name, channels=width, reason="its weight is computed from other tensors")
            )
        elif stay:
            reasons = (wired.reasons.get(unit) or left.get(unit) for unit in stay)
            whole.append(Whole(layer=name, channels=len(stay), reason=next(filter(None, reasons), TOGETHER)))
    kept = sum(one.channels for one in whole)
    single = sum(width_of(layer) == 1 for _, layer in layers)
    named = tuple(one for one in whole if one.reason != LOGITS)
    return Survey(groups=proven, whole=named, share=(total - kept - single) / max(total, 1))


def _verdict(
    net: SegmentationNet, wired: Wiring, groups: tuple[ChannelGroup, ...], size_hw: tuple[int, int]
) -> Mapping[str, str]:
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    units = [[None if axis is None else axis.tobytes() for axis in axes] for axes in wired.units.values()]
    kinds = [f"{type(module).__module__}.{type(module).__qualname__}" for module in net.modules()]
    told = (kinds, net.training_only, size_hw, shapes, wired.operations, units)
    key = hashlib.sha256(repr(told).encode()).hexdigest()
    if key not in _VERDICTS:
        _VERDICTS[key] = unproven(net, wired, groups, size_hw)
    return _VERDICTS[key]


def _units(net: SegmentationNet, wired: Wiring, group: ChannelGroup) -> list[int]:
    units = made_by(group.name, net.get_submodule(group.name), wired)
    return [] if units is None else units.tolist()


def _faults(
    net: SegmentationNet, wired: Wiring, group: ChannelGroup, bad: Mapping[str, str]
) -> Iterator[tuple[int, str]]:
    if group.name in bad:
        for unit in _units(net, wired, group):
            yield unit, f"a trial cut fails: {bad[group.name]}"
