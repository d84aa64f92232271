"""The laws that every loss keeps."""

import pytest
import torch
from torch import Tensor

from segprune.loss.contract import Loss
from segprune.training.loss import segmentation_loss

VOID = 255


def drawn(classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (2, K, 6, 5) and labels (2, 6, 5) with void; the last class occurs nowhere."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, classes, 6, 5, generator=generator)
    label = torch.randint(classes - 1, (2, 6, 5), generator=generator)
    return logits, torch.where(torch.rand(2, 6, 5, generator=generator) < 0.3, VOID, label)


def two_pixels_of(*values: float) -> Tensor:
    """Logits (1, 2, 1, N) by which pixel n has class 0 with this probability."""
    p = torch.tensor(values, dtype=torch.float64)
    return torch.stack([(p / (1 - p)).log(), torch.zeros_like(p)]).float().view(1, 2, 1, -1)


class LossBattery:
    """Inherit it, and say with ``loss`` which loss."""

    @property
    def loss(self) -> Loss:
        raise NotImplementedError

    def of(self, logits: Tensor, label: Tensor, weights: Tensor | None = None) -> Tensor:
        return self.loss(logits, label, ignore_index=VOID, weights=weights)

    def test_it_says_its_word(self) -> None:
        assert self.loss.name in ("ce", "dice", "focal", "ohem", "ce_dice")
        assert isinstance(self.loss, Loss)

    @pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5, 2.0])])
    def test_what_is_predicted_at_ignored_pixels_counts_for_nothing(self, weights: Tensor | None) -> None:
        logits, label = drawn()
        other = torch.where((label == VOID)[:, None], 7 * torch.rand_like(logits), logits)
        one, two = (tensor.clone().requires_grad_() for tensor in (logits, other))
        of_one, of_two = self.of(one, label, weights), self.of(two, label, weights)
        assert float(of_one.detach()) == pytest.approx(float(of_two.detach()), abs=1e-6)
        of_one.backward()
        of_two.backward()
        assert one.grad is not None
        assert two.grad is not None
        assert not two.grad[(label == VOID)[:, None].expand_as(logits)].any()
        assert torch.allclose(one.grad, two.grad, atol=1e-6)

    def test_equal_weights_are_none_and_only_their_proportions_count(self) -> None:
        logits, label = drawn()
        none = float(self.of(logits, label))
        for factor in (1.0, 7.0):
            assert float(self.of(logits, label, torch.full((4,), factor))) == pytest.approx(none, rel=1e-5)

    def test_a_class_of_weight_nearly_0_counts_nearly_nothing(self) -> None:
        logits, label = drawn()
        weights = torch.tensor([1.0, 1e-7, 1.0, 1.0])
        without = self.of(logits, label, weights)
        worse = logits.clone()
        worse[:, 1] = torch.where(label == 1, worse[:, 1] - 5, worse[:, 1])
        assert float(self.of(worse, label, weights)) < float(without) + 0.5
        assert float(self.of(worse, label)) > float(self.of(logits, label))

    def test_permuted_classes_cost_the_same(self) -> None:
        logits, label = drawn()
        order = torch.tensor([2, 0, 3, 1])
        renamed = torch.where(label == VOID, VOID, order.argsort()[label.clamp(max=3)])
        assert float(self.of(logits[:, order], renamed)) == pytest.approx(
            float(self.of(logits, label)), rel=1e-5
        )

    def test_certain_and_right_costs_nothing_and_certain_and_wrong_much(self) -> None:
        label = torch.tensor([[[0, 1, VOID]]])
        right = torch.tensor([[[[60.0, -60.0, 0.0]], [[-60.0, 60.0, 0.0]]]], requires_grad=True)
        cost = self.of(right, label)
        assert float(cost.detach()) == pytest.approx(0, abs=1e-6)
        cost.backward()
        assert right.grad is not None
        assert right.grad.isfinite().all()
        assert float(self.of(-right.detach(), label)) > 0.5

    def test_half_precision_around_it_changes_nothing(self) -> None:
        logits, label = drawn()
        loss = segmentation_loss(self.loss, ignore_index=VOID, class_weights=None, aux_weight=0.4)
        halved = logits.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = loss([halved, halved], label)
        assert inside.dtype == torch.float32
        assert float(inside) == float(loss([halved.float(), halved.float()], label))
        assert float(inside) == pytest.approx(1.4 * float(self.of(halved.float(), label)), rel=1e-5)

    def test_a_batch_of_void_costs_nothing_and_has_zero_gradients(self) -> None:
        logits = torch.randn(1, 2, 2, 2, requires_grad=True)
        loss = segmentation_loss(self.loss, ignore_index=VOID, class_weights=None, aux_weight=0.4)
        cost = loss([logits], torch.full((1, 2, 2), VOID))
        cost.backward()
        assert float(cost.detach()) == 0
        assert logits.grad is not None
        assert not logits.grad.any()

    def test_it_falls_when_a_network_learns(self) -> None:
        logits, label = drawn()
        learnt = logits.clone().requires_grad_()
        optimizer = torch.optim.SGD([learnt], lr=5.0)
        costs = []
        for _ in range(200):
            cost = self.of(learnt, label)
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            costs.append(float(cost.detach()))
        assert costs[-1] < 0.5 * costs[0]
