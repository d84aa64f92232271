import math

import pytest
import torch

from segprune.loss.ce import CrossEntropy
from segprune.loss.focal import Focal
from tests.loss.battery import VOID, LossBattery, drawn, two_pixels_of


class TestFocal(LossBattery):
    loss = Focal(focus=2.0)


class TestFocalOfSlopeNearZero(LossBattery):
    loss = Focal(focus=0.5)


def test_by_hand() -> None:
    logits, label = two_pixels_of(0.75, 0.4, 0.1), torch.tensor([[[0, 1, VOID]]])
    costs = [0.25**2 * -math.log(0.75), 0.4**2 * -math.log(0.6)]
    found = Focal(focus=2.0)(logits, label, ignore_index=VOID, weights=None)
    assert float(found) == pytest.approx(sum(costs) / 2)
    weighted = Focal(focus=2.0)(logits, label, ignore_index=VOID, weights=torch.tensor([1.0, 3.0]))
    assert float(weighted) == pytest.approx((costs[0] + 3 * costs[1]) / 4)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5, 2.0])])
def test_a_focus_of_0_is_cross_entropy(weights: torch.Tensor | None) -> None:
    logits, label = drawn()
    found = Focal(focus=0)(logits, label, ignore_index=VOID, weights=weights)
    expected = CrossEntropy()(logits, label, ignore_index=VOID, weights=weights)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_a_constant_on_all_logits_changes_nothing_other_than_in_a_loss_of_sigmoids() -> None:
    losses = pytest.importorskip("segmentation_models_pytorch", reason="needs the extra smp").losses
    logits, label = two_pixels_of(0.75, 0.4, 0.1), torch.tensor([[[0, 1, VOID]]])
    mine, theirs = Focal(focus=2.0), losses.FocalLoss("multiclass", ignore_index=VOID)
    before, after = (mine(one, label, ignore_index=VOID, weights=None) for one in (logits, logits + 5))
    assert float(after) == pytest.approx(float(before), rel=1e-4)
    assert float(theirs(logits + 5, label)) > 2 * float(theirs(logits, label))
