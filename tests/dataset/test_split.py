"""A class of few images is in every part, parts have the asked sizes, and the seed decides the rest."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segprune.dataset.split import stratified
from segprune.errors import ConfigError

PARTS = (0.7, 0.15, 0.15)


def test_ten_images_of_one_class_are_shared_out_by_the_largest_remainder() -> None:
    # 7, 1.5 and 1.5: the one that is left goes to the first of equals
    parts = stratified([{0}] * 10, PARTS, seed=0)
    assert [parts.count(part) for part in range(3)] == [7, 2, 1]


def test_a_rare_class_is_in_every_part_by_its_share() -> None:
    # 20 of 100 images hold class 1: 14, 3 and 3 of them, where chance alone would often miss that
    holds = [{0, 1} if image % 5 == 0 else {0} for image in range(100)]
    parts = stratified(holds, PARTS, seed=3)
    rare = [part for part, names in zip(parts, holds, strict=True) if 1 in names]
    assert [rare.count(part) for part in range(3)] == [14, 3, 3]
    assert [parts.count(part) for part in range(3)] == [70, 15, 15]


def test_the_one_image_of_a_class_is_for_training() -> None:
    for seed in range(20):
        assert stratified([{0}] * 9 + [{0, 1}], (0.6, 0.2, 0.2), seed)[9] == 0


def test_the_seed_alone_decides() -> None:
    holds = [{image % 3} for image in range(30)]
    assert stratified(holds, PARTS, 1) == stratified(holds, PARTS, 1)
    assert len({tuple(stratified(holds, PARTS, seed)) for seed in range(5)}) == 5


def test_a_part_of_nothing_stays_empty_and_every_other_has_an_image() -> None:
    parts = stratified([set()] * 5, (0.9, 0.1, 0.0), seed=0)
    assert sorted(parts) == [0, 0, 0, 0, 1]
    with pytest.raises(ConfigError, match=r"makes 3 parts of 2 images; give more images, or 0 for a part"):
        stratified([{0}, {1}], PARTS, seed=0)


@pytest.mark.slow
@given(
    holds=st.lists(st.sets(st.integers(0, 4)), min_size=3, max_size=40),
    weights=st.lists(st.integers(1, 20), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
def test_sizes_are_within_one_of_what_was_asked(holds: list[set[int]], weights: list[int], seed: int) -> None:
    fractions = [weight / sum(weights) for weight in weights]
    sizes = np.bincount(stratified(holds, fractions, seed), minlength=3)
    assert sizes.sum() == len(holds)
    for size, fraction in itertools.zip_longest(sizes, fractions):
        assert size >= 1
        assert (
            abs(size - max(1, fraction * len(holds))) < 3
        )  # one more where a part of less than one took one
