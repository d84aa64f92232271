import math

import pytest
import torch
from torch.nn import functional as F

from segprune.distill.contract import Seen
from segprune.distill.kd import KD
from tests.distill.losses import IGNORED, LossBattery, labels, seen, value

LN3 = math.log(3)


def kd(**changes: object) -> KD:
    return KD(**{"weight": 1.0, "temperature": 4.0, "ignored": "taught", **changes})


class TestLaws(LossBattery):
    def loss(self) -> KD:
        return kd()


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1, 0.549306), (2, 0.5887), (4, 0.5997), (8, 0.6025), (1000, LN3**2 / 2)]
)
def test_two_classes_worked_by_hand(temperature: float, expected: float) -> None:
    # T = 1: p_t = (3/4, 1/4), p_s = (1/4, 3/4): 3/4 ln 3 - 1/4 ln 3 = ln 3 / 2.
    # T -> inf: |s - t|^2 / (2 K) of the centred logits = 2 * ln(3)^2 / (2 * 2)
    found = value(kd(temperature=temperature), seen([[0.0], [LN3]]), seen([[LN3], [0.0]]))
    assert float(found) == pytest.approx(expected, abs=1e-3 if temperature > 8 else 5e-5)


def test_a_constant_added_to_all_classes_changes_nothing() -> None:
    student, teacher = seen([[0.0, 1.0], [LN3, 2.0]]), seen([[LN3, 0.0], [0.0, 5.0]])
    moved = value(kd(), Seen(logits=student.logits + 3), Seen(logits=teacher.logits - 7))
    assert float(moved) == pytest.approx(float(value(kd(), student, teacher)), abs=1e-6)


def test_a_certain_teacher_at_temperature_1_is_the_label() -> None:
    student = seen([[0.3, -1.0, 2.0], [1.0, 0.5, 0.0]])
    certain = seen([[100.0, -100.0, 100.0], [-100.0, 100.0, -100.0]])
    expected = F.cross_entropy(student.logits, torch.tensor([[[0, 1, 0]]]))
    assert float(value(kd(temperature=1.0), student, certain)) == pytest.approx(float(expected), abs=1e-6)


def test_it_is_a_mean_over_pixels_times_the_weight() -> None:
    one = value(kd(), seen([[0.0], [LN3]]), seen([[LN3], [0.0]]))
    student = seen([[0.0, 0.0], [LN3, 0.0]])  # its second pixel is as the teacher's
    two = value(kd(weight=5.0), student, seen([[LN3, 0.0], [0.0, 0.0]]))
    assert float(two) == pytest.approx(5 * float(one) / 2, abs=1e-6)


def test_pixels_without_a_label_are_left_out_if_asked() -> None:
    student, teacher = seen([[0.0, 0.0], [LN3, 9.0]]), seen([[LN3, 5.0], [0.0, 0.0]])
    label = labels(student)
    label[..., 1] = IGNORED
    left_out = value(kd(ignored="left_out", temperature=1.0), student, teacher, label)
    assert float(left_out) == pytest.approx(LN3 / 2, abs=1e-6)
    taught = value(kd(temperature=1.0), student, teacher, label)
    assert float(taught) == float(value(kd(temperature=1.0), student, teacher))
    label[:] = IGNORED
    assert float(value(kd(ignored="left_out"), student, teacher, label)) == 0
