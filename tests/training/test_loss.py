import math

import pytest
import torch

from segprune.loss.ce import CrossEntropy
from segprune.training.loss import segmentation_loss


def loss(weights: list[float] | None = None, aux_weight: float = 0.4):
    tensor = None if weights is None else torch.tensor(weights)
    return segmentation_loss(CrossEntropy(), ignore_index=255, class_weights=tensor, aux_weight=aux_weight)


def test_by_hand_with_void_and_weights() -> None:
    # softmax of (ln 3, 0) is (3/4, 1/4); three pixels: class 0, class 1, void
    logits = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
    label = torch.tensor([[[0, 1, 255]]])
    cost0, cost1 = -math.log(3 / 4), -math.log(1 / 4)
    assert float(loss()([logits], label)) == pytest.approx((cost0 + cost1) / 2)
    assert float(loss([1.0, 3.0])([logits], label)) == pytest.approx((cost0 + 3 * cost1) / 4)


def test_further_heads_count_with_the_auxiliary_weight() -> None:
    logits, label = torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]])
    assert float(loss()([logits, logits], label)) == pytest.approx(1.4 * math.log(2))


def test_logits_are_resized_to_the_label() -> None:
    logits = torch.randn(1, 3, 4, 4)
    label = torch.randint(3, (1, 8, 8))
    enlarged = torch.nn.functional.interpolate(logits, size=(8, 8), mode="bilinear", align_corners=False)
    assert float(loss()([logits], label)) == pytest.approx(float(loss()([enlarged], label)))


def test_a_batch_of_void_costs_nothing_and_has_zero_gradients() -> None:
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    value = loss()([logits], torch.full((1, 2, 2), 255))
    value.backward()
    assert float(value.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()
