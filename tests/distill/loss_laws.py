"""The laws of every distillation loss as a function of tensors; a loss's own test inherits them."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def everywhere(maps: Tensor) -> Tensor:
    return torch.ones(len(maps), *maps.shape[2:], dtype=torch.bool)


class LossLaws:
    """Laws of ``loss(student, teacher, mask)``; maps are (N, C, H, W), the mask of what counts (N, H, W)."""

    sums_positions: ClassVar[bool] = False
    """Whether it grows with the crop, as its paper has it."""

    def of(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        raise NotImplementedError

    def loss(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.of(student, teacher, everywhere(student) if mask is None else mask)

    def test_equal_maps_cost_nothing_and_pull_nowhere(self) -> None:
        student, teacher = maps(0, 2, 4, 6, 8).requires_grad_(), maps(0, 2, 4, 6, 8)
        loss = self.loss(student, teacher)
        loss.backward()
        assert abs(loss.item()) < 2e-6
        assert student.grad is not None
        assert student.grad.abs().max() < 1e-6

    def test_unequal_maps_cost_something(self) -> None:
        assert self.loss(maps(0, 2, 4, 6, 8), maps(1, 2, 4, 6, 8)) > 1e-3

    def test_the_teacher_has_no_gradient(self) -> None:
        student, teacher = maps(0, 2, 4, 6, 8).requires_grad_(), maps(1, 2, 4, 6, 8).requires_grad_()
        self.loss(student, teacher).backward()
        assert teacher.grad is None
        assert student.grad is not None
        assert student.grad.abs().sum() > 0

    def test_its_gradient_is_its_derivative(self) -> None:
        student, teacher = maps(0, 1, 3, 2, 4).double().requires_grad_(), maps(1, 1, 3, 2, 4).double()
        loss = self.loss(student, teacher)
        loss.backward()
        assert student.grad is not None
        direction = maps(2, 1, 3, 2, 4).double()
        with torch.no_grad():
            step = 1e-2
            ends = [self.loss(student + sign * step * direction, teacher).double() for sign in (1, -1)]
        assert (student.grad * direction).sum() == pytest.approx(
            float(ends[0] - ends[1]) / (2 * step), rel=0.03
        )

    def test_a_batch_twice_as_large_of_the_same_images_costs_the_same(self) -> None:
        student, teacher = maps(0, 2, 4, 6, 8), maps(1, 2, 4, 6, 8)
        twice = self.loss(student.repeat(2, 1, 1, 1), teacher.repeat(2, 1, 1, 1))
        assert twice == pytest.approx(float(self.loss(student, teacher)), rel=1e-5)

    def test_a_crop_twice_as_large_of_the_same_content_costs_the_same_unless_the_paper_sums(self) -> None:
        student, teacher = maps(0, 2, 4, 6, 8), maps(1, 2, 4, 6, 8)
        twice = self.loss(student.repeat(1, 1, 1, 2), teacher.repeat(1, 1, 1, 2))
        factor = 2 if self.sums_positions else 1
        assert twice == pytest.approx(factor * float(self.loss(student, teacher)), rel=1e-4)

    def test_places_that_do_not_count_change_nothing_and_get_no_gradient(self) -> None:
        student, teacher = maps(0, 2, 4, 6, 8), maps(1, 2, 4, 6, 8)
        mask = torch.ones(2, 6, 8, dtype=torch.bool)
        mask[0, :, 4:] = False
        other = torch.where(mask.unsqueeze(1), student, 100 * maps(3, 2, 4, 6, 8)).requires_grad_()
        loss = self.loss(other, teacher, mask)
        loss.backward()
        assert loss.item() == pytest.approx(float(self.loss(student, teacher, mask)), rel=1e-5)
        assert other.grad is not None
        assert not other.grad.movedim(1, -1)[~mask].any()

    def test_nothing_that_counts_costs_nothing(self) -> None:
        student = maps(0, 2, 4, 6, 8).requires_grad_()
        loss = self.loss(student, maps(1, 2, 4, 6, 8), torch.zeros(2, 6, 8, dtype=torch.bool))
        loss.backward()
        assert loss == 0
        assert student.grad is not None
        assert not student.grad.any()

    @pytest.mark.parametrize("value", [0.0, 3.0])
    def test_constant_maps_stay_finite(self, value: float) -> None:
        flat = torch.full((2, 4, 6, 8), value)
        for student, teacher in ((flat, maps(1, 2, 4, 6, 8)), (maps(0, 2, 4, 6, 8), flat), (flat, flat)):
            moved = student.clone().requires_grad_()
            loss = self.loss(moved, teacher)
            loss.backward()
            assert loss.isfinite()
            assert moved.grad is not None
            assert moved.grad.isfinite().all()
            assert moved.grad.abs().max() < 1e4

    def test_it_is_computed_in_float32(self) -> None:
        """Sums of squares of such numbers overflow in float16."""
        student, teacher = ((1000 * maps(seed, 2, 4, 6, 8)).half() for seed in (0, 1))
        loss = self.loss(student, teacher)
        assert loss.dtype == torch.float32
        assert loss.isfinite()
        assert loss == pytest.approx(float(self.loss(student.float(), teacher.float())), rel=1e-5)

    def test_autocast_changes_nothing(self) -> None:
        student, teacher = maps(0, 2, 4, 6, 8), maps(1, 2, 4, 6, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = self.loss(student, teacher)
        assert torch.equal(mixed, self.loss(student, teacher))
