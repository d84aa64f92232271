import pytest

from segprune.stage.planned import PlannedTraining
from tests.tiny import tiny_schedule


@pytest.mark.parametrize(("times", "epochs"), [(1, 3), (0, 0), (2, 6)])
def test_epochs_count_as_often_as_they_are_done(times: int, epochs: int) -> None:
    schedule = tiny_schedule(epochs=3)
    training = PlannedTraining(word="train", key="train", schedule=schedule, about={}, times=times)
    assert training.epochs == epochs
