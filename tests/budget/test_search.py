import math
import random
from collections.abc import Callable

import pytest

from segprune.budget.search import Candidate, is_close, search

Time = Callable[[float], float]
"""Fraction of MACs removed -> time by that of the dense network."""


def found(time: Time, target: float, *, step: float = 0.001, max_cuts: int = 6) -> list[Candidate]:
    """A search among cuts whose MACs are multiples of ``step``, down to 5 %."""

    def timed(ratio: float) -> Candidate:
        macs = min(0.95, step * round(ratio / step))
        return Candidate(macs_ratio=ratio, macs=macs, latency=time(macs))

    return search(timed, timed(0.95), target=target, tolerance=0.05, max_cuts=max_cuts)


@pytest.mark.parametrize("fixed", [0.0, 0.17, 0.29, 0.48])
@pytest.mark.parametrize("target", [0.9, 0.7, 0.55])
def test_a_straight_line_takes_the_deepest_cut_and_one_more(fixed: float, target: float) -> None:
    cuts = found(lambda macs: fixed + (1 - fixed) * (1 - macs), target)
    assert len(cuts) == 2
    assert cuts[0].macs == 0.95
    assert cuts[1].latency == pytest.approx(target, abs=0.001)


@pytest.mark.parametrize("target", [0.9, 0.7, 0.5, 0.35])
@pytest.mark.parametrize("bend", [0.5, 2.0, 4.0])
def test_a_bent_line_takes_few(bend: float, target: float) -> None:
    cuts = found(lambda macs: 0.2 + 0.8 * (1 - macs**bend), target)
    assert is_close(cuts[-1], target, 0.05)
    assert len(cuts) <= 5


@pytest.mark.parametrize("target", [0.8, 0.6, 0.45])
def test_steps_are_searched_to_the_one_that_is_close(target: float) -> None:
    # time jumps in steps of 0.0375
    cuts = found(lambda macs: 0.25 + 0.75 * (1 - math.floor(20 * macs) / 20), target)
    assert is_close(cuts[-1], target, 0.05)


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_a_per_cent_does_no_harm(seed: int) -> None:
    draw = random.Random(seed)
    cuts = found(lambda macs: (0.25 + 0.75 * (1 - macs)) * draw.gauss(1, 0.01), 0.5)
    assert is_close(cuts[-1], 0.5, 0.05)
    assert len(cuts) <= 4


def test_a_search_ends_where_whole_channels_allow_nothing_closer() -> None:
    # there are cuts of 45 and 90 % of the MACs; after both, the next guess gives one of them again
    cuts = found(lambda macs: 1 - macs, 0.75, step=0.45)
    assert [one.macs for one in cuts] == [0.9, 0.45]
    assert not any(is_close(one, 0.75, 0.05) for one in cuts)


def test_no_more_cuts_are_timed_than_allowed() -> None:
    asked: list[float] = []

    def timed(ratio: float) -> Candidate:
        asked.append(ratio)
        return Candidate(macs_ratio=ratio, macs=ratio, latency=1.0 if ratio < 0.9 else 0.1)  # a cliff

    cuts = search(timed, timed(0.95), target=0.5, tolerance=0.05, max_cuts=4)
    assert len(cuts) == len(asked) == 4


def test_the_deepest_cut_can_be_the_one() -> None:
    assert len(found(lambda macs: 1 - macs, 0.05)) == 1
