import math

import pytest
import torch

from segprune.distill.contract import Seen
from segprune.distill.cwd import CWD
from tests.distill.losses import IGNORED, LossBattery, labels, seen, value

LN3 = math.log(3)


def cwd(**changes: object) -> CWD:
    return CWD(**{"weight": 1.0, "temperature": 4.0, "ignored": "taught", **changes})


class TestLaws(LossBattery):
    def loss(self) -> CWD:
        return cwd()


@pytest.mark.parametrize(("temperature", "expected"), [(1, 0.549306), (4, 0.599709)])
def test_two_pixels_worked_by_hand(temperature: float, expected: float) -> None:
    # the same numbers as those of two classes in one pixel: the softmax is over the pixels
    found = value(cwd(temperature=temperature), seen([[0.0, LN3]]), seen([[LN3, 0.0]]))
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_a_constant_added_to_a_class_changes_nothing() -> None:
    student, teacher = seen([[0.0, LN3], [1.0, 2.0]]), seen([[LN3, 0.0], [4.0, 2.0]])
    shift = torch.tensor([3.0, -8.0])[:, None, None]
    moved = value(cwd(), Seen(logits=student.logits + shift), Seen(logits=teacher.logits - 2 * shift))
    assert float(moved) == pytest.approx(float(value(cwd(), student, teacher)), abs=1e-6)


def test_pixels_in_another_order_are_the_same() -> None:
    student, teacher = seen([[0.0, LN3, 2.0]]), seen([[LN3, 0.0, 1.0]])
    order = [2, 0, 1]
    turned = value(cwd(), *(Seen(logits=one.logits[..., order]) for one in (student, teacher)))
    assert float(turned) == pytest.approx(float(value(cwd(), student, teacher)), abs=1e-6)


def test_it_is_a_mean_over_classes_times_the_weight() -> None:
    one = value(cwd(), seen([[0.0, LN3]]), seen([[LN3, 0.0]]))
    student, teacher = seen([[0.0, LN3], [1.0, 1.0]]), seen([[LN3, 0.0], [5.0, 5.0]])
    assert float(value(cwd(weight=3.0), student, teacher)) == pytest.approx(3 * float(one) / 2, abs=1e-6)
    doubled = [Seen(logits=part.logits.repeat(1, 2, 1, 1)) for part in (student, teacher)]
    assert float(value(cwd(weight=3.0), *doubled)) == pytest.approx(3 * float(one) / 2, abs=1e-6)


def test_pixels_without_a_label_are_left_out_if_asked() -> None:
    student, teacher = seen([[0.0, LN3, 50.0]]), seen([[LN3, 0.0, -9.0]])
    label = labels(student)
    label[..., 2] = IGNORED
    left_out = value(cwd(ignored="left_out", temperature=1.0), student, teacher, label)
    assert float(left_out) == pytest.approx(LN3 / 2, abs=1e-6)
    assert float(value(cwd(temperature=1.0), student, teacher, label)) > 10
    label[:] = IGNORED
    assert float(value(cwd(ignored="left_out"), student, teacher, label)) == 0
