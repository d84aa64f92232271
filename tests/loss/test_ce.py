import math

import pytest
import torch

from segprune.loss.ce import CrossEntropy
from tests.loss.battery import VOID, LossBattery, two_pixels_of


class TestCrossEntropy(LossBattery):
    loss = CrossEntropy()


def test_by_hand() -> None:
    logits, label = two_pixels_of(0.75, 0.4, 0.1), torch.tensor([[[0, 1, VOID]]])
    costs = [-math.log(0.75), -math.log(0.6)]
    loss = CrossEntropy()
    assert float(loss(logits, label, ignore_index=VOID, weights=None)) == pytest.approx(sum(costs) / 2)
    weighted = loss(logits, label, ignore_index=VOID, weights=torch.tensor([1.0, 3.0]))
    assert float(weighted) == pytest.approx((costs[0] + 3 * costs[1]) / 4)
