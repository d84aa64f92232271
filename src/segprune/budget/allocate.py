"""From scores to a plan: the exact number of channels that each group loses, with a rule for ties."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segprune.graph.group import ChannelGroup, PrunePlan, Scores
from segprune.graph.units import unit_of

Counts = Mapping[str, int]
FEWEST_STEPS = 4
"""A step takes at most a quarter of a group: by halves, a narrow group would lose too much or nothing."""


def multiples(round_to: int) -> tuple[int, ...]:
    """``round_to``, its half, the half of that, and so on; 1 is the last one: 8, 4, 2, 1."""
    if round_to == 1:
        return (1,)
    return (round_to, *multiples(1 if round_to % 2 else round_to // 2))


class Allocation:
    """The cuts that a budget may choose from: per group an order of removal and the allowed numbers.

    Channels are removed from the lowest score up; of equal scores the lower group name goes first, then the lower
    channel index. Units of channels go as wholes; all channels of one have the same score. Of every layer that has
    only a part of a group, as one side of a concatenation that is added to something, the best unit stays.

    Args:
        groups: Channel groups.
        scores: Group name -> (C,), higher = keep.
        floor: Fraction of each group's channels that always stays; at least one channel does.
        round_to: Kept widths are multiples of this, except those of groups left as they are. A group of which it is
            more than a quarter, or that has no such width above its floor, takes the next of ``multiples``.
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
        units = {group.name: unit_of(group).numpy() for group in groups}
        stays = {group.name: _stays(group, self._scores[group.name], units[group.name]) for group in groups}
        self._scores = {name: np.where(stays[name], np.inf, value) for name, value in self._scores.items()}
        self._order = {name: _removal(value, units[name]) for name, value in self._scores.items()}
        self.allowed = {
            name: _allowed(
                _ends(units[name][self._order[name]]),
                max(1, math.ceil(floor * size - 1e-9), int(stays[name].sum())),
                round_to,
                gone=len((gone or {}).get(name, ())),
            )
            for name, size in self.sizes.items()
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

    def most(self, name: str, wanted: int) -> int:
        """The largest allowed number that is not above the wanted one; at least what is gone."""
        allowed = self.allowed[name]
        return int(max(allowed[allowed <= wanted], default=allowed[0]))

    def below(self, threshold: float) -> Counts:
        """Of every group the channels that score below a threshold, as far as it allows."""
        return {name: self.most(name, int((value < threshold).sum())) for name, value in self._scores.items()}

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
    steps: Sequence[Allocation],
    *,
    is_local: bool,
    target: float,
    within: float,
    cost: Callable[[PrunePlan], int],
    is_last: bool = True,
) -> PrunePlan:
    """The cut that comes closest to a cost: first along ever deeper cuts, then group by group.

    Finer steps are taken only where coarser ones do not do: for all groups where even the deepest cut costs too
    much, and else for as few groups as bring the cost close enough.

    Args:
        steps: The cuts to choose from, in ever finer steps; each allows all that the one before it does.
        is_local: Whether every group loses the same fraction, or the lowest-scored channels of all groups go.
        target: Cost to reach, in the unit of ``cost``.
        within: How far from it is close enough.
        cost: Plan -> what remains; must not grow with a deeper cut.
        is_last: Whether no deeper cut follows. Before one that does, no finer steps are taken and nothing goes
            that it might have to keep.

    Returns:
        The deepest allowed cut when even that costs more than the target.
    """

    def left(counts: Counts) -> int:
        return cost(steps[0].plan(counts))

    def error(counts: Counts) -> float:
        more = left(counts) - target
        return abs(more) if is_last or more >= 0 else math.inf

    able = [step for step in steps if left(step.deepest) <= target + within] or steps[-1:]
    first, *finer = able if is_last else able[:1]
    start = min(_around(first, lambda counts: left(counts) > target, is_local=is_local), key=error)
    counts = coarse = _finish(first, start, first, 0, error)
    for step in finer:
        if error(counts) > within:
            counts = _finish(step, coarse, first, within, error)
    return steps[0].plan(counts)


def _around(
    allocation: Allocation, costs_more: Callable[[Counts], bool], *, is_local: bool
) -> tuple[Counts, Counts]:
    """Of ever deeper cuts the last one that costs more than the target, and the next one."""

    def counts_at(depth: int) -> Counts:
        return allocation.local(depth / steps) if is_local else allocation.lowest(depth)

    steps = 4 * allocation.total if is_local else allocation.total
    low, high = 0, steps  # counts_at(steps) is the deepest cut
    while high - low > 1:
        middle = (low + high) // 2
        if costs_more(counts_at(middle)):
            low = middle
        else:
            high = middle
    return counts_at(low), counts_at(high)


def _finish(
    allocation: Allocation,
    start: Counts,
    aligned: Allocation,
    enough: float,
    error: Callable[[Counts], float],
) -> Counts:
    """Move one group by one allowed step at a time while that brings the cost closer to the target.

    Of steps that come equally close, one that takes no further group off the ``aligned`` cuts is preferred, then
    the one that leaves its group nearest to its first fraction, so that the last channels come from several.
    """
    counts = dict(start)
    while (now := error(counts)) > enough:
        tried = [
            (error({**counts, name: count}), is_off and not was_off, moved, name, count)
            for name, allowed in allocation.allowed.items()
            for was_off in [counts[name] not in aligned.allowed[name]]
            for count in _beside(allowed, counts[name])
            for is_off in [count not in aligned.allowed[name]]
            for moved in [abs(count - start[name]) / allocation.sizes[name]]
        ]
        best = min(tried, key=lambda step: step[:3], default=None)
        if best is None or best[0] >= now:
            break
        counts[best[3]] = best[4]
    return counts


def _beside(allowed: NDArray[np.int64], count: int) -> list[int]:
    """The allowed numbers right below and above."""
    at = int(np.searchsorted(allowed, count))
    return [int(allowed[place]) for place in (at - 1, at + 1) if 0 <= place < len(allowed)]


def _removal(value: NDArray[np.float64], units: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C,) channels in the order of removal."""
    return np.lexsort((np.arange(len(value)), units, value))


def _stays(group: ChannelGroup, value: NDArray[np.float64], units: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(C,) the best unit of each layer side, where these are several units: without it, a layer would be empty."""
    rank = np.argsort(_removal(value, units))
    best = {int(units[root[rank[root].argmax()]]) for one in group.members for root in [one.root.numpy()]}
    return np.isin(units, list(best)) if len(best) > 1 else np.zeros(len(units), dtype=bool)


def _ends(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C,) unit of each channel, in the order of removal -> after how many channels a unit is whole."""
    return np.append(np.flatnonzero(np.diff(units)) + 1, len(units))


def _allowed(ends: NDArray[np.int64], least: int, round_to: int, *, gone: int) -> NDArray[np.int64]:
    """Sorted numbers of channels that may be removed from a group; those gone are always one.

    Args:
        ends: After how many channels a unit is whole; the last one is the number of channels.
        least: How many channels stay at the least.
        round_to: Kept widths are multiples of it, or of the next of ``multiples`` of which there are some.
        gone: Channels that are gone.
    """
    size = int(ends[-1])
    widths = size - ends[(ends > gone) & (ends <= size - least)]
    steps = [
        step for step in multiples(round_to) if FEWEST_STEPS * step <= size and not (widths % step).all()
    ]
    wide = max(steps, default=1)
    return np.array(sorted({gone, *(size - widths[widths % wide == 0]).tolist()}), dtype=np.int64)
