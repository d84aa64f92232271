"""From the wiring of a network to its channel groups."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from segprune.graph.channels import Labels
from segprune.graph.group import ChannelGroup, Member
from segprune.graph.layers import Conv, Norm, channel_axis, is_depthwise, makes_channels
from segprune.graph.wiring import Wiring
from segprune.model.contract import SegmentationNet

TOGETHER = "several of its channels can only go together"


def groups_of(net: SegmentationNet, wired: Wiring) -> tuple[ChannelGroup, ...]:
    """The channel groups that a network's wiring lets be cut, in the order of its layers.

    A group is named after the first layer that makes its channels; one that only rescales them gives its name last.
    Never in a group are the layers that make the class logits, the inner channels of training-only heads, which are
    not deployed, layers that the logits are not computed from, and what has to stay by ``wired.reasons``.
    """
    layers = list(net.named_modules())
    groups: dict[str, ChannelGroup] = {}
    taken: set[int] = set()
    for name, layer in sorted(layers, key=lambda named: named[0] in wired.rescaling):
        units = made_by(name, layer, wired)
        if units is None or why_whole(net, units, name, wired) or taken.intersection(units.tolist()):
            continue
        taken.update(units.tolist())
        groups[name] = ChannelGroup(name=name, size=len(units), members=tuple(_members(net, wired, units)))
    return tuple(groups[name] for name, _ in layers if name in groups)


def made_by(name: str, layer: nn.Module, wired: Wiring) -> Labels | None:
    """(C,) units of the channels that a layer makes, in order; None for one that makes none or does not run."""
    if not makes_channels(layer) or name not in wired.reaching:
        return None
    units = wired.of(f"{name}.weight", channel_axis(layer, "weight", "out") or 0)
    return units if units is not None and len(units) > 1 else None


def why_whole(net: SegmentationNet, units: Labels, name: str, wired: Wiring) -> str:
    """Why a layer's channels stay; empty if they can be removed one by one."""
    if net.only_trains(name):
        return "it only serves training"
    for unit in units.tolist():
        if unit in wired.reasons:
            return wired.reasons[unit]
    if len(np.unique(units)) < len(units):
        return TOGETHER
    return ""


def _members(net: SegmentationNet, wired: Wiring, units: Labels) -> Iterator[Member]:
    place = {unit: number for number, unit in enumerate(units.tolist())}
    for name, layer in net.named_modules():
        made = "scale" if name in wired.rescaling else "out"
        for side, carried in _sides(name, layer, wired):
            own = [position for position, unit in enumerate(carried.tolist()) if unit in place]
            if own:
                root = [place[unit] for unit in carried[own].tolist()]
                axis = "in" if side == "in" else made
                yield Member(layer=name, axis=axis, own=torch.tensor(own), root=torch.tensor(root))  # type: ignore[arg-type]


def _sides(name: str, layer: nn.Module, wired: Wiring) -> Iterator[tuple[str, Labels]]:
    """``out`` or ``in``, and the units that a layer makes or passes on, or reads."""
    if isinstance(layer, Norm):
        found = [wired.of(f"{name}.{key}", 0) for key in ("weight", "running_mean")]
        passed = next((units for units in found if units is not None), wired.bare.get(name))
        if passed is not None:
            yield "out", passed
    elif isinstance(layer, Conv | nn.Linear | nn.PReLU):
        for side in ("out", "in"):
            axis = 0 if is_depthwise(layer) else channel_axis(layer, "weight", side)
            units = None if axis is None else wired.of(f"{name}.weight", axis)
            if units is not None and not (side == "in" and isinstance(layer, nn.PReLU)):
                yield side, units
