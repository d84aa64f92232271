import pytest
import torch

from segprune.loss.dice import Dice
from tests.loss.battery import VOID, LossBattery, drawn, two_pixels_of


class TestDice(LossBattery):
    loss = Dice()


def dice(logits: torch.Tensor, label: torch.Tensor, weights: torch.Tensor | None = None) -> float:
    return float(Dice()(logits, label, ignore_index=VOID, weights=weights))


def test_by_hand() -> None:
    # class 0: 2 * 0.75 / (0.75 + 0.4 + 1); class 1: 2 * 0.6 / (0.25 + 0.6 + 1); the third pixel is void
    logits, label = two_pixels_of(0.75, 0.4, 0.1), torch.tensor([[[0, 1, VOID]]])
    zero, one = 1.5 / 2.15, 1.2 / 1.85
    assert dice(logits, label) == pytest.approx(1 - (zero + one) / 2)
    assert dice(logits, label, torch.tensor([1.0, 3.0])) == pytest.approx(1 - (zero + 3 * one) / 4)


def test_a_class_that_the_batch_does_not_show_neither_costs_nor_dilutes() -> None:
    logits, label = two_pixels_of(0.75, 0.4), torch.tensor([[[0, 0]]])
    assert dice(logits, label) == pytest.approx(1 - 2 * 1.15 / (1.15 + 2))


def test_it_is_that_of_segmentation_models_pytorch_where_all_classes_occur() -> None:
    losses = pytest.importorskip("segmentation_models_pytorch", reason="needs the extra smp").losses
    logits, label = drawn()
    label[0, 0, 0] = 3
    theirs = losses.DiceLoss("multiclass", ignore_index=VOID)
    assert dice(logits, label) == pytest.approx(float(theirs(logits, label)), rel=1e-5)
    label[0, 0, 0] = VOID  # theirs is the mean over four classes, of which one costs nothing
    assert dice(logits, label) == pytest.approx(float(theirs(logits, label)) * 4 / 3, rel=1e-5)
