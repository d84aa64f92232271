"""Channels under numbers: which of them must be removed together, and which stay."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
"""(C,) the number of each channel."""
FIXED = 0
"""The number of whatever cannot be removed."""


class Channels:
    """Hands out numbers and collects what is known of them."""

    def __init__(self) -> None:
        self._count = FIXED + 1
        self._united: list[tuple[Labels, Labels]] = []
        self._fixed: list[tuple[Labels, str]] = []

    def new(self, count: int) -> Labels:
        """(count,) numbers that nobody has."""
        labels = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        return labels

    def unite(self, one: Labels, other: Labels, reason: str) -> None:
        """Each channel goes together with the one at its place in ``other``; beside a fixed one it stays."""
        is_free = (one != FIXED) & (other != FIXED)
        if not is_free.all():
            self.fix(np.where(one == FIXED, other, one)[~is_free], reason)
            one, other = one[is_free], other[is_free]
        is_news = one != other
        if is_news.any():
            self._united.append((one[is_news], other[is_news]))

    def fix(self, labels: Labels, reason: str) -> None:
        """These channels stay; of several reasons the first one is told."""
        self._fixed.append((labels[labels != FIXED], reason))

    def resolved(self) -> "Resolved":
        """What follows for every channel."""
        units = _lowest_of_connected(self._count, self._united)
        reasons: dict[int, str] = {FIXED: "it has a fixed size"}
        for labels, reason in self._fixed:
            for unit in np.unique(units[labels]).tolist():
                reasons.setdefault(unit, reason)
        return Resolved(units=units, reasons=reasons)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """Which channels go together.

    Attributes:
        units: (number of channels,) the lowest number among the channels that go together.
        reasons: Unit that stays -> why.
    """

    units: Labels
    reasons: Mapping[int, str]


def _lowest_of_connected(count: int, edges: list[tuple[Labels, Labels]]) -> Labels:
    lowest = np.arange(count, dtype=np.int64)
    if not edges:
        return lowest
    ends = np.unique(np.stack([np.concatenate(side) for side in zip(*edges, strict=True)]), axis=1)
    while True:
        here = np.minimum(*lowest[ends])
        before = lowest.copy()
        for end in ends:
            np.minimum.at(lowest, lowest[end], here)
            np.minimum.at(lowest, end, here)
        lowest = lowest[lowest]
        if (lowest == before).all():
            return lowest
