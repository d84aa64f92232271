import pytest

from segprune.run.advice import advice
from tests.run.test_assemble import settings

pytestmark = pytest.mark.usefixtures("composer")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("", []),
        ("train=sgd_poly finetune=sgd_poly", []),
        ("train=sgd_poly finetune=like_train", []),
        (
            "train=sgd_poly",
            ["train uses sgd (lr 0.01) and finetune adamw (lr 0.003)", "finetune has 2 epochs"],
        ),
        ("finetune=sgd_poly", ["train uses adamw"]),
        (
            "train.epochs=41",
            ["finetune has 2 epochs, train 41: under 5% recovers little of a cut; finetune.epochs=10"],
        ),
        ("train.epochs=40", []),
        ("train=sgd_poly finetune=none", []),
        ("train=sgd_poly stages=[train,eval]", []),
    ],
)
def test_schedules_that_do_not_belong_together_are_told(overrides: str, told: list[str]) -> None:
    found = list(advice(settings(*overrides.split())))
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True))


@pytest.mark.slow
def test_like_train_is_the_schedule_of_the_training() -> None:
    chosen = settings("train=sgd_poly", "train.lr=0.03", "finetune=like_train")
    assert chosen.finetune == chosen.train
