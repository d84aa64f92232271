import pytest
import torch
from torch import Tensor

from segprune.distill.normalised import normalised_difference


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 3, 40, 40)), generator=torch.Generator().manual_seed(seed))


def test_scale_and_offset_of_a_channel_do_not_count_but_its_sign_does() -> None:
    teacher = maps(0)
    scale, offset = torch.tensor([0.5, 3.0, 7.0]), torch.tensor([4.0, -1.0, 0.0])
    student = teacher * scale[:, None, None] + offset[:, None, None]
    assert float(normalised_difference(student, teacher)) == pytest.approx(0, abs=1e-8)
    assert float(normalised_difference(-student, teacher)) == pytest.approx(4, abs=1e-3)


def test_it_is_twice_one_minus_the_correlation() -> None:
    student, teacher = maps(1, 1, 1, 30, 30), maps(2, 1, 1, 30, 30)
    student = student + teacher
    rho = torch.corrcoef(torch.stack([student.flatten(), teacher.flatten()]))[0, 1]
    assert float(normalised_difference(student, teacher)) == pytest.approx(2 * (1 - float(rho)), abs=1e-4)


def test_constant_maps_are_finite() -> None:
    flat = torch.ones(1, 2, 4, 4, requires_grad=True)
    loss = normalised_difference(flat, maps(0, 1, 2, 4, 4))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1, abs=1e-3)  # only the teacher varies, with variance 1
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_maps_of_one_pixel_do_not_differ() -> None:
    one = torch.ones(2, 3, 1, 1, requires_grad=True)
    normalised_difference(one, maps(0, 2, 3, 1, 1)).backward()
    assert one.grad is not None
    assert not one.grad.any()


def test_only_pixels_that_count_are_compared() -> None:
    student, teacher = maps(1), maps(2)
    everywhere = torch.ones(2, 40, 40, dtype=torch.bool)
    whole = float(normalised_difference(student, teacher))
    assert float(normalised_difference(student, teacher, everywhere)) == pytest.approx(whole, rel=1e-5)
    left = everywhere.clone()
    left[:, :, 20:] = False
    half = float(normalised_difference(student[..., :20], teacher[..., :20]))
    student[..., 20:] = 1e3
    assert float(normalised_difference(student, teacher, left)) == pytest.approx(half, rel=1e-4)
    assert float(normalised_difference(student, teacher, ~everywhere)) == 0
