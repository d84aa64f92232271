import pytest

from segprune.distill.kd import divergence
from segprune.distill.nfd import NFD
from segprune.distill.normalised import normalised_difference
from tests.distill.loss_laws import everywhere
from tests.distill.losses import LossBattery


def nfd(**changes: object) -> NFD:
    return NFD(
        **{
            "weight": 0.7,
            "kd_weight": 10.0,
            "temperature": 1.0,
            "places": None,
            "ignored": "taught",
            **changes,
        }
    )


class TestLaws(LossBattery):
    def loss(self) -> NFD:
        return nfd()

    def test_it_is_the_weighted_logits_and_the_mean_over_the_places(self) -> None:
        student, teacher = self.batch(1), self.batch(2)
        mask = everywhere(student.logits)
        of_logits = divergence(student.logits, teacher.logits, mask, temperature=1.0)
        of_maps = [
            normalised_difference(student.features[name], teacher.features[name], mask) for name in "ab"
        ]
        expected = 10 * of_logits + 0.7 * sum(of_maps) / 2
        assert float(self.value(student, teacher)) == pytest.approx(float(expected), rel=1e-5)
