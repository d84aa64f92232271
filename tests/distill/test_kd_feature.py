import pytest
import torch

from segprune.distill.contract import Seen
from segprune.distill.kd_feature import KDFeature
from tests.distill.losses import IGNORED, LossBattery, labels, seen, value
from tests.distill.test_kd import LN3


def kd_feature(**changes: object) -> KDFeature:
    usual = {"weight": 1.0, "temperature": 4.0, "feature_weight": 0.7, "places": None, "ignored": "taught"}
    return KDFeature(**{**usual, **changes})


class TestLaws(LossBattery):
    def loss(self) -> KDFeature:
        return kd_feature()


def test_it_is_the_sum_of_both_with_their_weights_and_a_mean_over_places() -> None:
    left = torch.tensor([[[[1.0, -1.0, 1.0, -1.0]]]])
    student = seen([[0.0], [LN3]], features={"a": left, "b": left})
    teacher = seen([[LN3], [0.0]], features={"a": -left, "b": 3 * left})  # differences 4 and 0
    assert float(value(kd_feature(feature_weight=0.0), student, teacher)) == pytest.approx(0.599709, abs=1e-5)
    assert float(value(kd_feature(weight=0.0), student, teacher)) == pytest.approx(0.7 * 2, abs=1e-3)
    both = value(kd_feature(weight=2.0), student, teacher)
    assert float(both) == pytest.approx(2 * 0.599709 + 0.7 * 2, abs=1e-3)


def test_pixels_without_a_label_are_left_out_of_maps_too() -> None:
    student = Seen(logits=torch.zeros(1, 2, 1, 4), features={"a": torch.tensor([[[[1.0, 2.0, 3.0, 9.0]]]])})
    teacher = Seen(logits=torch.zeros(1, 2, 1, 4), features={"a": torch.tensor([[[[1.0, 2.0, 3.0, -9.0]]]])})
    label = labels(student)
    assert float(value(kd_feature(), student, teacher, label)) > 0.5
    label[..., 3] = IGNORED
    assert float(value(kd_feature(ignored="left_out"), student, teacher, label)) == pytest.approx(0, abs=1e-6)
