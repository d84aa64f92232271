import pytest
import torch

from segprune.loss.ce import CrossEntropy
from segprune.loss.ce_dice import CrossEntropyAndDice
from segprune.loss.dice import Dice
from tests.loss.battery import VOID, LossBattery, drawn


class TestCrossEntropyAndDice(LossBattery):
    loss = CrossEntropyAndDice(dice=1.0)


def test_it_is_the_sum() -> None:
    logits, label = drawn()
    weights = torch.tensor([1.0, 3.0, 0.5, 2.0])
    parts = [loss(logits, label, ignore_index=VOID, weights=weights) for loss in (CrossEntropy(), Dice())]
    found = CrossEntropyAndDice(dice=0.5)(logits, label, ignore_index=VOID, weights=weights)
    assert float(found) == pytest.approx(float(parts[0] + 0.5 * parts[1]))
