"""The cost of any cut, without cutting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from segprune.budget.dependence import Dependent, dependents
from segprune.graph.dependency import structure
from segprune.graph.group import ChannelGroup
from segprune.graph.kept import Kept
from segprune.measure.cost import idle_parts
from segprune.measure.itemise import itemise
from segprune.model.contract import SegmentationNet

Unit = Literal["channels", "macs", "params"]


class CostSimulator:
    """Channels, MACs and params of a network after any cut.

    The numbers are those that ``measure.cost`` counts in the network really cut.

    Attributes:
        net: The dense network.
        size_hw: (H, W) in px of the image the MACs are for.
        idle: Parts of the network that its logits are not computed from: they cost nothing.

    Args:
        net: Dense network; left as it was.
        groups: Its channel groups.
        size_hw: (H, W) in px of the image the MACs are for.

    Raises:
        ConfigError: They cannot be known before the cut.
    """

    def __init__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], size_hw: tuple[int, int]
    ) -> None:
        self.net, self.size_hw = net, size_hw
        self._groups = {group.name: group for group in groups}
        key = structure(net), size_hw, tuple(map(id, groups))
        known = _KNOWN(key, lambda: _Known.of(net, groups, size_hw))
        self.idle, self._sums = known.idle, known.sums

    def cost(self, plan: Mapping[str, Sequence[int]], unit: Unit) -> int:
        """Channels, MACs or params that remain after the plan."""
        return sum(self.widths(plan).values()) if unit == "channels" else self._sums[unit].after(plan)

    def widths(self, plan: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Group name -> channels that remain after the plan."""
        return {name: group.size - len(plan.get(name, ())) for name, group in self._groups.items()}

    def expected(self, keep: Mapping[str, torch.Tensor], unit: Unit) -> torch.Tensor:
        """Expected cost when channels stay with given probabilities; differentiable.

        Sizes are taken as independent, as in DMCP (arXiv:2005.03354); with probabilities 0 and 1 it is ``cost``.

        Args:
            keep: Group name -> (C,) probability that each channel stays; groups without an entry stay whole.
            unit: Of the cost.
        """
        if unit == "channels":
            whole = [torch.tensor(float(g.size)) for name, g in self._groups.items() if name not in keep]
            return torch.stack([*whole, *(chance.sum() for chance in keep.values())]).sum()
        return self._sums[unit].expected(keep)

    def expected_share(self, keep: Mapping[str, torch.Tensor], *, unit: Unit) -> torch.Tensor:
        """Expected fraction of the whole network's cost, as ``expected``."""
        return self.expected(keep, unit) / self.cost({}, unit)


@dataclass(frozen=True, kw_only=True)
class _Sum:
    """A sum of products of sizes, of which some depend on the channels that are left.

    Attributes:
        sizes: (S + 1,) those that depend on channels, in the dense network; the last one is always 1.
        shares: Group name -> numbers (R,) of the sizes that depend on it, and (R, C) by how much each channel.
        factors: (I, F) of each product the numbers of its sizes, with S where it has fewer.
        constants: (I,) what they are multiplied with.
    """

    sizes: NDArray[np.int64]
    shares: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
    factors: NDArray[np.int64]
    constants: NDArray[np.int64]

    @classmethod
    def of(cls, items: Sequence[Dependent]) -> "_Sum":
        """The sum of all items."""
        sizes, constants, rows = list[int](), list[int](), list[list[int]]()
        numbers: dict[str, list[int]] = {}
        shares: dict[str, list[NDArray[np.int64]]] = {}
        for item in items:
            constant, row = 1, list[int]()
            for size, parts in zip(item.item.sizes, item.shares, strict=True):
                if not parts:
                    constant *= size
                    continue
                for name, part in parts.items():
                    numbers.setdefault(name, []).append(len(sizes))
                    shares.setdefault(name, []).append(part)
                row.append(len(sizes))
                sizes.append(size)
            constants.append(constant)
            rows.append(row)
        most = max(map(len, rows), default=0)
        padded = [[*row, *[len(sizes)] * (most - len(row))] for row in rows]
        return cls(
            sizes=np.array([*sizes, 1]),
            shares={name: (np.array(numbers[name]), np.stack(shares[name])) for name in numbers},
            factors=np.array(padded, dtype=np.int64).reshape(len(rows), most),
            constants=np.array(constants, dtype=np.int64),
        )

    def after(self, plan: Mapping[str, Sequence[int]]) -> int:
        sizes = self.sizes.copy()
        for name, removed in plan.items():
            if name in self.shares:
                numbers, share = self.shares[name]
                sizes[numbers] -= share[:, np.asarray(removed, dtype=np.int64)].sum(axis=1)
        return int((self.constants * sizes[self.factors].prod(axis=1)).sum())

    def expected(self, keep: Mapping[str, torch.Tensor]) -> torch.Tensor:
        like = next(iter(keep.values()), torch.empty(0, dtype=torch.float64))
        sizes = torch.from_numpy(self.sizes).to(like)
        for name, chance in keep.items():
            if name in self.shares:
                numbers, share = self.shares[name]
                gone = torch.from_numpy(share).to(like) @ (1 - chance)
                sizes = sizes.index_add(0, torch.from_numpy(numbers).to(like.device), -gone)
        products = sizes[torch.from_numpy(self.factors)].prod(dim=1)
        return (torch.from_numpy(self.constants).to(like) * products).sum()


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the costs of a network's cuts are computed from.

    Attributes:
        groups: Its channel groups, held so that no others get their place in memory, which they are known by.
        idle: See ``CostSimulator``.
        sums: Unit -> what a network costs in it.
    """

    groups: tuple[ChannelGroup, ...]
    idle: tuple[str, ...]
    sums: Mapping[Unit, _Sum]

    @classmethod
    def of(cls, net: SegmentationNet, groups: Sequence[ChannelGroup], size_hw: tuple[int, int]) -> "_Known":
        """Of a network; see ``dependents``."""
        items = itemise(net, size_hw)
        sizes = dependents(net, groups, size_hw, items)
        units: tuple[Unit, ...] = ("macs", "params")
        sums = {unit: _Sum.of([item for item in sizes if item.unit == unit]) for unit in units}
        return cls(groups=tuple(groups), idle=idle_parts(net, items), sums=sums)


_KNOWN: Kept[_Known] = Kept(16)
