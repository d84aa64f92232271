"""Time that work takes: passing time, and time of processors, which other programs disturb far less."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from segprune.bench.contract import Figure

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a piece of work took.

    Attributes:
        wall_s: Seconds that passed.
        cpu_s: Seconds of processors, of all threads, and of a command also of the processes that it waited for.
    """

    wall_s: float
    cpu_s: float


def here(work: Callable[[], object]) -> Spent:
    """What a call takes in this process."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return Spent(wall_s=time.perf_counter() - started, cpu_s=time.process_time() - used)


def in_turns(works: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each work gives, one after the other in every round, and every second round the other way round.

    Whatever slows the machine down for a while then meets all of them.
    """
    found: dict[str, list[T]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works)[:: -1 if number % 2 else 1]:
            found[name].append(works[name]())
    return found


def figure(what: str, values: Sequence[float], unit: str, sizes: str, *, goal: float | None = None) -> Figure:
    """The median of measurements with the lowest and the highest.

    Raises:
        ValueError: There is none.
    """
    if not values:
        raise ValueError(f"nothing was measured for {what}")
    low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
    middle = float(np.median(values))
    return Figure(
        what=what, value=middle, unit=unit, sizes=sizes, low=low, high=high, count=len(values), goal=goal
    )


def times(what: str, spent: Sequence[Spent], sizes: str, *, goal: float | None = None) -> list[Figure]:
    """Both times of the same work; the goal is one for passing time."""
    return [
        figure(what, [one.wall_s for one in spent], "s", sizes, goal=goal),
        figure(what, [one.cpu_s for one in spent], "CPU s", sizes),
    ]


def compared(
    what: str, ours: Sequence[Spent], other: Sequence[Spent], sizes: str, *, goal: float | None = None
) -> list[Figure]:
    """Ratios within each round, of passing time and of processor time; the goal is one for both."""
    pairs = list(zip(ours, other, strict=True))
    return [
        figure(what, [a.wall_s / b.wall_s for a, b in pairs], "x", sizes, goal=goal),
        figure(what, [a.cpu_s / b.cpu_s for a, b in pairs], "x CPU", sizes, goal=goal),
    ]
