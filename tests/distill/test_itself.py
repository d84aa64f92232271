from dataclasses import asdict

from segprune.distill.itself import Itself
from tests.distill.losses import LossBattery, value
from tests.distill.test_kd import kd


class TestLaws(LossBattery):
    def loss(self) -> Itself:
        return Itself(weight=1.0, temperature=4.0, ignored="taught")


def test_it_is_kd_but_for_the_teacher() -> None:
    mine, student, teacher = TestLaws().loss(), TestLaws().batch(1), TestLaws().batch(2)
    assert asdict(mine) == asdict(kd())
    assert value(mine, student, teacher) == value(kd(), student, teacher)
    assert (mine.by_itself, kd().by_itself) == (True, False)
