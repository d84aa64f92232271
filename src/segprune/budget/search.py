"""The cut that takes a given share of the dense network's time, found with few timings."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A cut that was timed.

    Attributes:
        macs_ratio: Fraction of MACs that was asked to be removed.
        macs: Fraction that was.
        latency: Its time by the dense network's.
    """

    macs_ratio: float
    macs: float
    latency: float


DENSE = Candidate(macs_ratio=0.0, macs=0.0, latency=1.0)


def search(
    time: Callable[[float], Candidate],
    deepest: Candidate,
    *,
    target: float,
    tolerance: float,
    max_cuts: int,
) -> list[Candidate]:
    """Cuts that were timed, in order; one is close enough, unless no allowed cut is or no more may be timed.

    At aligned widths time is nearly a straight line over MACs. So the next cut is where the line between the
    closest slower and the closest faster one meets the target, which are the dense network and the deepest cut at
    first; and halfway between them after the same one was replaced twice, as the line is bent then, or time noisy.

    Args:
        time: Fraction of MACs to remove -> the cut, timed.
        deepest: The deepest allowed cut, timed.
        target: Share of the dense network's time.
        tolerance: Largest allowed distance from it, as a fraction of it.
        max_cuts: How many cuts may be timed, the deepest among them.
    """
    timed, slower, faster = [deepest], DENSE, deepest
    replaced: list[bool] = []
    while not is_close(timed[-1], target, tolerance) and len(timed) < max_cuts:
        share = (slower.latency - target) / (slower.latency - faster.latency)
        if len(replaced) > 1 and replaced[-1] == replaced[-2]:
            share = 0.5
        found = time(slower.macs + share * (faster.macs - slower.macs))
        if found.macs in (slower.macs, faster.macs):
            break  # whole channels allow none in between
        timed.append(found)
        replaced.append(found.latency > target)
        slower, faster = (found, faster) if replaced[-1] else (slower, found)
    return timed


def is_close(found: Candidate, target: float, tolerance: float) -> bool:
    """Whether a cut takes the target's time."""
    return abs(found.latency - target) <= tolerance * target
