"""Which channels the sizes in a network's cost depend on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from segprune.errors import BudgetError, ConfigError
from segprune.graph.cut import cut
from segprune.graph.group import ChannelGroup, Member, PrunePlan
from segprune.graph.layers import Conv, channel_axis, is_depthwise
from segprune.graph.proof import trial_plan
from segprune.graph.units import by_unit, first_of, together
from segprune.measure.itemise import Item, Items, itemise
from segprune.model.contract import SegmentationNet
from segprune.shortage import shortage

Shares = Mapping[str, NDArray[np.int64]]
"""Group name -> (C,) by how much a size shrinks for each of its channels that goes; in a unit, the
first one may stand for all."""


@dataclass(frozen=True, kw_only=True)
class Dependent:
    """An item of the dense network's cost, and what its sizes depend on.

    Attributes:
        unit: What it is an item of.
        item: As it is in the dense network.
        shares: One per size.
    """

    unit: Literal["params", "macs"]
    item: Item
    shares: tuple[Shares, ...]

    def sizes(self, plan: PrunePlan) -> tuple[int, ...]:
        """The sizes after a cut."""
        return tuple(
            size - sum(int(share[list(plan[name])].sum()) for name, share in shares.items() if name in plan)
            for size, shares in zip(self.item.sizes, self.shares, strict=True)
        )


def dependents(
    net: SegmentationNet, groups: Sequence[ChannelGroup], size_hw: tuple[int, int], dense: Items
) -> tuple[Dependent, ...]:
    """The items of a network's cost, with what they depend on, so that the cost of every cut is known exactly.

    For layers of a group, the group says so. For other sizes, such as those of attention products, a trial cut of
    all groups shows which ones change, and cuts of ever fewer groups show what they depend on.

    Args:
        net: Dense network; left as it was.
        groups: Its channel groups.
        size_hw: (H, W) in px of the image the MACs are for.
        dense: The network's items for it.

    Raises:
        ConfigError: A size does not shrink in proportion to the channels that go, or a cut network cannot run.
    """
    found = [*_by_layers(net, groups, "params", dense.params), *_by_layers(net, groups, "macs", dense.macs)]
    plan = trial_plan(groups)
    if not plan:
        return tuple(found)
    count = partial(_cut_sizes, net, size_hw, found)
    trial = count(plan)
    places = [
        (number, axis)
        for number, dependent in enumerate(found)
        for axis, size in enumerate(dependent.sizes(plan))
        if size != trial[number][axis]
    ]
    if places:
        found = _with_measured(found, places, groups, count)
    for dependent, sizes in zip(found, trial, strict=True):
        if dependent.sizes(plan) != sizes:
            raise _out_of_proportion(net, dependent, dependent.sizes(plan), sizes)
    return tuple(found)


def _by_layers(
    net: SegmentationNet,
    groups: Sequence[ChannelGroup],
    unit: Literal["params", "macs"],
    items: Sequence[Item],
) -> Iterator[Dependent]:
    """What the groups say of their layers: of the parameters, and of the operations with a weight's sizes."""
    layers = dict(net.named_modules())
    sides: dict[str, list[tuple[str, str, NDArray[np.int64]]]] = {}
    for group in groups:
        for member in group.members:
            share = _share(group, member, layers[member.layer])
            sides.setdefault(member.layer, []).append((group.name, member.axis, share))
    for item in items:
        layer, shares = layers[item.module], [dict[str, NDArray[np.int64]]() for _ in item.sizes]
        parameter, start = item.name, 0
        if unit == "macs" and isinstance(layer, Conv | nn.Linear):
            parameter, start = "weight", len(item.sizes) - layer.weight.dim()
        if parameter in ("weight", "bias") and tuple(getattr(layer, parameter).shape) == item.sizes[start:]:
            for group_name, side, share in sides.get(item.module, ()):
                axis = channel_axis(layer, parameter, side)
                if axis is not None:
                    shares[start + axis][group_name] = share
        yield Dependent(unit=unit, item=item, shares=tuple(shares))


def _share(group: ChannelGroup, member: Member, layer: nn.Module) -> NDArray[np.int64]:
    """(C,) how many entries of a layer's weight are of each channel, on one side of the layer."""
    if member.axis == "in" and isinstance(layer, Conv) and layer.groups > 1 and not is_depthwise(layer):
        share = np.zeros(group.size, dtype=np.int64)
        share[first_of(group).numpy()] = 1  # one place in every group of the convolution
        return share
    return np.bincount(member.root.numpy(), minlength=group.size)


def _cut_sizes(
    net: SegmentationNet, size_hw: tuple[int, int], dense: Sequence[Dependent], plan: PrunePlan
) -> list[tuple[int, ...]]:
    """The sizes of the dense network's items in a network really cut."""
    try:
        items = itemise(cut(net, plan), size_hw)
    except (BudgetError, IndexError, RuntimeError, ValueError) as error:
        if shortage(error, lambda _: None):
            raise
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"model: {type(net).__name__} cannot run on images of {list(size_hw)} px (dataset.size_hw) when "
            f"channels of {', '.join(list(plan)[:3])} are cut ({reason}). Let forward take the sizes it needs from "
            "its tensors, or leave prune out of stages."
        ) from error
    now = [*items.params, *items.macs]
    for dependent, item in zip_longest(dense, now):
        before = dependent.item if dependent else None
        if not (before and item and str(before) == str(item) and len(before.sizes) == len(item.sizes)):
            raise ConfigError(
                f"model: {type(net).__name__} runs other operations when channels are cut ({item or 'nothing'} in "
                f"place of {before or 'nothing'}), so that the cost of a cut is not known before it. Let forward "
                "run the same operations for every width, or leave prune out of stages."
            )
    return [item.sizes for item in now]


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Channels of a group that every layer of the group carries alike; of each unit the first one."""

    group: ChannelGroup
    channels: tuple[int, ...]


def _with_measured(
    found: Sequence[Dependent],
    places: Sequence[tuple[int, int]],
    groups: Sequence[ChannelGroup],
    count: Callable[[PrunePlan], Sequence[tuple[int, ...]]],
) -> list[Dependent]:
    """The dependents with the shares of some of their sizes replaced by measured ones.

    Args:
        found: Dependents.
        places: Of each size to measure the number of its dependent and its place there.
        groups: Channel groups.
        count: Plan -> sizes of all items after this cut.
    """
    shares: dict[tuple[int, int], dict[str, NDArray[np.int64]]] = {place: {} for place in places}

    def measure(parts: Sequence[_Part]) -> None:
        """Cut one channel of each part; where a size changed, do so with each half of the parts."""
        plan: dict[str, tuple[int, ...]] = {}
        for part in parts:
            name = part.group.name
            plan[name] = together(part.group, (*plan.get(name, ()), part.channels[0]))
        after = count(plan)
        lost = {(i, axis): found[i].item.sizes[axis] - after[i][axis] for i, axis in places}
        if not any(lost.values()):
            return
        if len(parts) > 1:
            measure(parts[: len(parts) // 2])
            measure(parts[len(parts) // 2 :])
            return
        (part,) = parts
        for place, number in lost.items():
            share = shares[place].setdefault(part.group.name, np.zeros(part.group.size, dtype=np.int64))
            share[list(part.channels)] = number

    measure([part for group in groups for part in _parts(group)])
    changed = list(found)
    for i, axis in places:
        old = changed[i].shares
        changed[i] = replace(changed[i], shares=(*old[:axis], shares[i, axis], *old[axis + 1 :]))
    return changed


def _parts(group: ChannelGroup) -> list[_Part]:
    seen, first = by_unit(group), first_of(group).numpy()
    carried = np.stack([np.bincount(member.root.numpy(), minlength=seen.size) for member in seen.members])
    _, kind = np.unique(carried, axis=1, return_inverse=True)
    return [
        _Part(group=group, channels=tuple(first[kind == number].tolist())) for number in range(kind.max() + 1)
    ]


def _out_of_proportion(
    net: SegmentationNet, dependent: Dependent, expected: tuple[int, ...], sizes: tuple[int, ...]
) -> ConfigError:
    return ConfigError(
        f"model: {dependent.item} of {type(net).__name__} costs {dependent.unit} that do not shrink in proportion "
        f"to the channels cut (the product of {list(sizes)} where {list(expected)} was expected), so that no "
        "budget could be met exactly. Let forward use the sizes of its tensors as they are, or leave prune out of "
        "stages."
    )
