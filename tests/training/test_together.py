import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from segprune.dataset.contract import Batch, SegData
from segprune.errors import DataError, TrainingError
from segprune.graph.group import ChannelGroup
from segprune.graph.trace import trace
from segprune.loss.ce_dice import CrossEntropyAndDice
from segprune.model.contract import SegmentationNet
from segprune.pruner.sparse import SparseStep
from segprune.schedule.schedule import Schedule
from segprune.training.loop import fit
from segprune.training.rank import Rank
from segprune.training.step import Epoch, Training
from segprune.training.together import Tell, together
from tests.tiny import CPU, Items, tiny_data, tiny_net, tiny_schedule

pytestmark = pytest.mark.slow
HERE = torch.device("cpu")


class Patchy(Items):
    """Every image has its own number of labelled pixels."""

    def __getitem__(self, index: int, /) -> Batch:
        image, label = super().__getitem__(index)
        label[: index % self.count] = 255
        return Batch(image, label)


def training_of(folder: Path, gpus: int, schedule: Schedule, seen: list[Epoch]) -> Training:
    folder.mkdir(exist_ok=True)
    data: SegData = tiny_data(fit=Patchy(9, seed=0), select=Items(5, seed=1))
    hardware = replace(CPU, gpus=gpus)
    return Training(
        data=data, schedule=schedule, seed=0, hardware=hardware, folder=folder, on_epoch=seen.append
    )


def sparse(
    groups: Sequence[ChannelGroup], net: SegmentationNet, training: Training, steps: int
) -> SparseStep:
    return SparseStep(net, groups, training, steps, penalty=0.01)


class StoppedError(Exception):
    pass


class Once(list[Epoch]):
    """Stops the training after its first epoch."""

    def append(self, epoch: Epoch) -> None:
        super().append(epoch)
        raise StoppedError


def left() -> list[psutil.Process]:
    """Processes that train, which this one has started."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_two_processes_train_as_one_and_continue_where_they_were(tmp_path: Path) -> None:
    # a loss of the whole batch, whose classes and labelled pixels the two parts have in other numbers
    schedule = tiny_schedule(
        epochs=3,
        accumulate=2,
        grad_clip=0.5,
        optimizer="sgd",
        lr=0.05,
        loss=CrossEntropyAndDice(dice=1.0),
        checkpointing=True,
        keep="best",
    )
    make = partial(sparse, trace(tiny_net()))
    whole, curve, step = fit(tiny_net(), training_of(tmp_path / "one", 1, schedule, []), make)
    with pytest.raises(StoppedError):
        fit(tiny_net(), training_of(tmp_path / "two", 2, schedule, Once()), make)
    assert left() == []
    told: list[Epoch] = []
    before = tiny_net()
    shared, same, step_of_two = fit(before, training_of(tmp_path / "two", 2, schedule, told), make)
    assert tuple(told) == same
    assert [epoch.epoch for epoch in told] == [0, 1, 2]
    for mine, its in zip(curve, same, strict=True):
        assert mine.loss == pytest.approx(its.loss, rel=1e-5)
        assert mine.select_miou_percent == pytest.approx(its.select_miou_percent, abs=1e-9)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value, rtol=1e-5, atol=2e-6)
    assert [type(part) for part in shared.modules()] == [type(part) for part in whole.modules()]
    assert len(step_of_two.histograms) == len(step.histograms) == 4
    assert torch.equal(next(before.parameters()), next(tiny_net().parameters()))


def dies(rank: Rank, tell: Tell) -> None:
    tell(rank.rank)
    if rank.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    rank.summed(torch.ones(1), HERE)


def fails(rank: Rank, tell: Tell) -> None:
    del tell
    if rank.rank == 1:
        raise DataError("label 300 is no class")
    rank.summed(torch.ones(1), HERE)


def takes(content: bytes, rank: Rank, tell: Tell) -> None:
    tell(len(content))


def test_the_end_of_one_process_is_that_of_all_and_its_cause_is_told() -> None:
    heard: list[object] = []
    told = r"^process 2 of the 2 that train together was killed by SIGKILL.*same command continues"
    with pytest.raises(TrainingError, match=told):
        together(2, HERE, dies, heard.append)
    assert heard == [0]  # what the others say is not heard
    assert left() == []
    with pytest.raises(DataError, match="label 300 is no class") as caught:
        together(2, HERE, fails, heard.append)
    assert "in process 2 of the 2" in caught.value.__notes__[0]
    assert left() == []


def kill_one() -> None:
    """Kill the first process that is there, before it can read what it is to do."""
    while not (found := left()):
        time.sleep(0.01)
    found[0].kill()


@pytest.mark.timeout(120)
def test_a_process_that_dies_before_it_has_its_work_is_told_and_nobody_waits_for_it() -> None:
    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(TrainingError, match=r"of the 2 that train together was killed by SIGKILL"):
        together(2, HERE, partial(takes, bytes(1 << 20)), print)
    killer.join()
    assert left() == []


def test_what_cannot_be_sent_is_told() -> None:
    with pytest.raises(TrainingError, match=r"^what trains cannot be sent .*lambda.*at the top of a module"):
        together(2, HERE, lambda rank, tell: None, print)
    assert left() == []
