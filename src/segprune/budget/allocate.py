"""From scores to a plan: the exact number of channels that each group loses, with a rule for ties."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segprune.graph.group import ChannelGroup, PrunePlan, Scores

Counts = Mapping[str, int]


class Allocation:
    """The cuts that a budget may choose from: per group an order of removal and the allowed numbers.

    Channels are removed from the lowest score up; of equal scores the lower group name goes first, then the lower
    channel index.

    Args:
        groups: Channel groups.
        scores: Group name -> (C,), higher = keep.
        floor: Fraction of each group's channels that always stays; at least one channel does.
        round_to: Kept widths are multiples of this, except those of groups left whole or narrower than it.
        gone: Channels that an earlier round removed; they must have the lowest scores of their groups.
    """

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        scores: Scores,
        *,
        floor: float,
        round_to: int,
        gone: PrunePlan | None = None,
    ) -> None:
        self.sizes = {group.name: group.size for group in groups}
        self._scores = {name: scores[name].double().cpu().numpy() for name in self.sizes}
        self._order = {name: np.argsort(value, kind="stable") for name, value in self._scores.items()}
        self.allowed = {
            name: allowed[allowed >= len((gone or {}).get(name, ()))]
            for name, size in self.sizes.items()
            for allowed in [_allowed(size, floor, round_to)]
        }

    @property
    def total(self) -> int:
        """Number of prunable channels."""
        return sum(self.sizes.values())

    @property
    def deepest(self) -> Counts:
        """The largest allowed cut."""
        return {name: int(allowed[-1]) for name, allowed in self.allowed.items()}

    def plan(self, counts: Counts) -> PrunePlan:
        """Group name -> the ``counts`` lowest-scored channels, sorted; groups left whole have no entry."""
        return {
            name: tuple(sorted(self._order[name][:count].tolist())) for name, count in counts.items() if count
        }

    def local(self, fraction: float) -> Counts:
        """The same fraction of every group, to the nearest allowed number."""
        return {name: self.nearest(name, fraction * size) for name, size in self.sizes.items()}

    def lowest(self, count: int) -> Counts:
        """Of all groups together the ``count`` lowest-scored channels, each group to the nearest allowed number.

        A group that reaches its floor keeps its best channels; the count is then not reached.
        """
        chosen = self._ranking[:count]
        per_group = np.bincount(chosen, minlength=len(self.sizes))
        return {name: self.nearest(name, int(n)) for name, n in zip(self.sizes, per_group, strict=True)}

    def nearest(self, name: str, wanted: float) -> int:
        """The allowed number closest to the wanted one; of two equally close ones the smaller cut."""
        allowed = self.allowed[name]
        return int(allowed[np.argmin(np.abs(allowed - wanted))])

    @property
    def _ranking(self) -> NDArray[np.int64]:
        """(total,) group number of each channel, lowest score first."""
        by_name = {name: rank for rank, name in enumerate(sorted(self.sizes))}
        value = np.concatenate(list(self._scores.values()))
        group = np.concatenate([np.full(size, i) for i, size in enumerate(self.sizes.values())])
        name_rank = np.concatenate([np.full(size, by_name[name]) for name, size in self.sizes.items()])
        channel = np.concatenate([np.arange(size) for size in self.sizes.values()])
        order = np.lexsort((channel, name_rank, value))
        return np.asarray(group[order], dtype=np.int64)


def reach(
    allocation: Allocation, *, is_local: bool, target: float, cost: Callable[[PrunePlan], int]
) -> PrunePlan:
    """The cut that comes closest to a cost: first along ever deeper cuts, then channel by channel.

    Args:
        allocation: The cuts to choose from.
        is_local: Whether every group loses the same fraction, or the lowest-scored channels of all groups go.
        target: Cost to reach, in the unit of ``cost``.
        cost: Plan -> what remains; must not grow with a deeper cut.

    Returns:
        The deepest allowed cut when even that costs more than the target.
    """

    def counts_at(depth: int) -> Counts:
        return allocation.local(depth / steps) if is_local else allocation.lowest(depth)

    steps = 4 * allocation.total if is_local else allocation.total
    low, high = 0, steps  # cost(low) >= target; counts_at(steps) is the deepest cut
    while high - low > 1:
        middle = (low + high) // 2
        if cost(allocation.plan(counts_at(middle))) > target:
            low = middle
        else:
            high = middle
    ends = [dict(counts_at(low)), dict(counts_at(high))]
    counts = min(ends, key=lambda c: abs(cost(allocation.plan(c)) - target))
    return allocation.plan(_finish(allocation, counts, target, cost))


def _finish(
    allocation: Allocation, counts: dict[str, int], target: float, cost: Callable[[PrunePlan], int]
) -> dict[str, int]:
    """Move one group by one allowed step at a time while that brings the cost closer to the target.

    Of steps that come equally close, the one that leaves its group nearest to its first fraction is taken, so that
    the last channels do not all come from one group.
    """
    start, error = dict(counts), abs(cost(allocation.plan(counts)) - target)
    while error:
        best: tuple[float, float, str, int] | None = None
        for name, allowed in allocation.allowed.items():
            at = int(np.searchsorted(allowed, counts[name]))
            for step in (at - 1, at + 1):
                if 0 <= step < len(allowed):
                    count = int(allowed[step])
                    tried = abs(cost(allocation.plan({**counts, name: count})) - target)
                    moved = abs(count - start[name]) / allocation.sizes[name]
                    if best is None or (tried, moved) < best[:2]:
                        best = (tried, moved, name, count)
        if best is None or best[0] >= error:
            break
        error = best[0]
        counts[best[2]] = best[3]
    return counts


def _allowed(size: int, floor: float, round_to: int) -> NDArray[np.int64]:
    """Sorted numbers of channels that may be removed from a group of this size; 0 is always one."""
    least = max(1, math.ceil(floor * size - 1e-9))
    kept = [width for width in range(least, size) if width % round_to == 0]
    return np.array(sorted({0, *(size - width for width in kept)}), dtype=np.int64)
