import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from segprune.distill.contract import Place, Seen, Shapes
from segprune.distill.ofd import OFD, margin, measured_margin, ofd_loss
from tests.distill.loss_laws import LossLaws, everywhere, maps
from tests.distill.losses import IGNORED, LossBattery, labels


class TestLaws(LossBattery):
    def loss(self) -> OFD:
        return OFD(weight=1e-2, places=None, ignored="taught")


class TestPartialDistance(LossLaws):
    sums_positions: ClassVar[bool] = True

    def of(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        # a student as high as a teacher below its margin is below it too, so equal maps cost nothing
        return ofd_loss(student, teacher, torch.full((student.shape[1],), -0.8), mask)


def _margin(scale: float, shift: float) -> float:
    return float(margin(torch.tensor([scale]), torch.tensor([shift])))


def test_margins_by_hand() -> None:
    assert _margin(1, 0) == pytest.approx(-math.sqrt(2 / math.pi))
    assert _margin(2, 1) == pytest.approx(-1.282156, abs=1e-6)
    assert _margin(-2, 1) == pytest.approx(-1.282156, abs=1e-6)
    assert _margin(1, 4) == pytest.approx(-3)


def test_a_margin_is_the_mean_of_the_negative_values() -> None:
    values = 0.7 * maps(0, 1_000_000) + 0.4
    assert _margin(0.7, 0.4) == pytest.approx(float(values[values < 0].mean()), abs=0.003)


def test_a_channel_without_scale_always_gives_its_shift() -> None:
    """A teacher whose batch norms were slimmed has such; the official code divides by the scale."""
    assert _margin(0, -0.5) == -0.5
    assert _margin(0, 0.5) == 0
    assert _margin(0, 0) == 0
    assert _margin(1e-6, -0.5) == pytest.approx(-0.5)


def test_the_partial_distance_by_hand() -> None:
    student, teacher = torch.tensor([-2.0, -2, 1, 3]), torch.tensor([-1.0, 2, -5, 3])
    student, teacher = student.view(1, 1, 2, 2), teacher.view(1, 1, 2, 2)
    loss = ofd_loss(student, teacher, torch.tensor([-0.8]), everywhere(student))
    assert loss == pytest.approx(0 + 16 + 1.8**2 + 0)


def test_a_student_below_a_hidden_teacher_pays_nothing_and_stays() -> None:
    student = torch.full((1, 1, 2, 2), -3.0, requires_grad=True)
    loss = ofd_loss(student, torch.full((1, 1, 2, 2), -0.5), torch.tensor([-0.8]), everywhere(student))
    loss.backward()
    assert loss == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_without_a_batch_norm_the_margin_is_measured() -> None:
    values = torch.tensor([[-1.0, 2, -3, 0], [1, 2, 3, 4]]).view(1, 2, 2, 2)
    assert measured_margin(values).tolist() == [-2, 0]


def test_a_finer_place_counts_less() -> None:
    """The sum of a place with 4 times the positions is halved: by 8, 4, 2, 1 where every stage halves the sides."""
    fine, deep = maps(0, 2, 3, 8, 8), maps(1, 2, 3, 4, 4)
    student = Seen(logits=maps(2, 2, 4, 8, 8), features={"fine": fine, "deep": deep})
    teacher = Seen(logits=student.logits, features={"fine": fine + 1, "deep": deep + 1})
    loss = OFD(weight=1.0, places=None, ignored="taught")
    place = Place(student=3, teacher=3, scale=torch.ones(3), shift=torch.zeros(3))
    parts = loss.parts(Shapes(classes=4, places={"fine": place, "deep": place}))
    found = loss(student, teacher, labels(student), ignore_index=IGNORED, parts=parts)
    margins = margin(torch.ones(3), torch.zeros(3))
    expected = ofd_loss(fine, fine + 1, margins, everywhere(fine)) / 2
    expected += ofd_loss(deep, deep + 1, margins, everywhere(deep))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_a_place_without_a_batch_norm_measures_its_margin() -> None:
    student = Seen(logits=maps(2, 2, 4, 4, 4), features={"a": maps(0, 2, 3, 4, 4)})
    teacher = Seen(logits=student.logits, features={"a": maps(1, 2, 3, 4, 4)})
    loss = OFD(weight=1.0, places=None, ignored="taught")
    parts = loss.parts(Shapes(classes=4, places={"a": Place(student=3, teacher=3)}))
    found = loss(student, teacher, labels(student), ignore_index=IGNORED, parts=parts)
    expected = ofd_loss(
        student.features["a"],
        teacher.features["a"],
        measured_margin(teacher.features["a"]),
        everywhere(student.features["a"]),
    )
    assert float(found) == pytest.approx(float(expected))
