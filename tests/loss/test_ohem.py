import math

import pytest
import torch

from segprune.loss.ce import CrossEntropy
from segprune.loss.ohem import HardPixels
from tests.loss.battery import VOID, LossBattery, drawn, two_pixels_of


class TestHardPixels(LossBattery):
    loss = HardPixels(threshold=0.7, least=0.0625)


LOGITS = two_pixels_of(0.9, 0.6, 0.8, 0.1, 0.2)
LABEL = torch.tensor([[[0, 0, 0, 0, VOID]]])


def cost(threshold: float, least: float, weights: torch.Tensor | None = None) -> float:
    return float(
        HardPixels(threshold=threshold, least=least)(LOGITS, LABEL, ignore_index=VOID, weights=weights)
    )


def test_pixels_below_the_threshold_count_by_hand() -> None:
    assert cost(0.7, 0.1) == pytest.approx(-(math.log(0.6) + math.log(0.1)) / 2)
    assert cost(0.85, 0.1) == pytest.approx(-(math.log(0.6) + math.log(0.8) + math.log(0.1)) / 3)


def test_a_fraction_of_the_labelled_pixels_counts_in_any_case() -> None:
    assert cost(0.05, 0.25) == pytest.approx(-math.log(0.1))  # one of four; the fifth is void
    assert cost(0.05, 0.75) == pytest.approx(-(math.log(0.6) + math.log(0.8) + math.log(0.1)) / 3)


def test_a_threshold_of_1_or_all_as_least_is_cross_entropy() -> None:
    for classes in (None, torch.tensor([1.0, 3.0, 0.5, 2.0])):
        logits, label = drawn()
        logits[0, :, 0, 0] = torch.tensor([90.0, 0, 0, 0])  # of probability 1 in float32
        label[0, 0, 0] = 0
        expected = float(CrossEntropy()(logits, label, ignore_index=VOID, weights=classes))
        for rule in ({"threshold": 1.0, "least": 0.01}, {"threshold": 0.01, "least": 1.0}):
            found = HardPixels(**rule)(logits, label, ignore_index=VOID, weights=classes)
            assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_fraction_that_is_no_binary_number_is_no_pixel_more() -> None:
    logits = two_pixels_of(*[0.5 + 0.01 * number for number in range(30)])
    loss = HardPixels(threshold=0.001, least=0.1)  # 0.1 * 30 is a little more than 3
    found = loss(logits, torch.zeros(1, 1, 30, dtype=torch.long), ignore_index=VOID, weights=None)
    assert float(found) == pytest.approx(-sum(map(math.log, (0.5, 0.51, 0.52))) / 3, rel=1e-5)
