"""A disk that fails at any one operation, or from one on, while a training is made, kept and read back."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segprune import durable
from segprune.checkpoint import checkpoint
from segprune.errors import StoreError
from segprune.store.store import Store
from segprune.training.loop import fit
from segprune.training.step import Step, Training
from tests.tiny import CPU, Items, tiny_data, tiny_net, tiny_schedule

STAGE, KEY = "train", "0123456789abcdef"
OPERATIONS: tuple[tuple[Any, str], ...] = (
    (os, "open"),
    (os, "mkdir"),
    (os, "replace"),
    (os, "unlink"),
    (os, "fsync"),
    (Path, "write_bytes"),
    (Path, "write_text"),
    (durable.Checked, "write"),
)
Weights = dict[str, torch.Tensor]


class Disk:
    """Every operation that changes the disk is counted, and fails where it is told to.

    Of the many small writes of one file, one in 60 counts.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = self.small = 0
        self.fails: Callable[[int], bool] = lambda number: False
        patch.setattr(os, "fsync", lambda descriptor: None)  # no test can cut the power, and it takes time
        for owner, name in OPERATIONS:
            patch.setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, really: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            if really.__qualname__.startswith("Checked"):
                self.small += 1
                if self.small % 60 != 1:
                    return really(*arguments, **options)
            self.count += 1
            if self.fails(self.count):
                if really.__name__.startswith("write"):  # half of it gets there
                    half = len(arguments[1]) // 2
                    really(arguments[0], arguments[1][:half], *arguments[2:], **options)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return really(*arguments, **options)

        return operation

    def break_at(self, number: int, *, is_lasting: bool) -> None:
        self.count = self.small = 0
        self.fails = number.__le__ if is_lasting else number.__eq__

    def heal(self) -> None:
        self.fails = lambda number: False


def work(root: Path, *, reuse: bool = True) -> Weights:
    """Train for two epochs, keep the result and read it back."""

    def make(folder: Path) -> None:
        training = Training(
            data=tiny_data(select=None, fit=Items(2, seed=0), calibration=Items(2, seed=0)),
            schedule=tiny_schedule(batch_size=2),
            seed=0,
            hardware=CPU,
            folder=folder,
            on_epoch=lambda epoch: None,
        )
        checkpoint.write(folder, fit(tiny_net(), training, Step)[0], transforms=(), about={})

    return read(Store(root=root, reuse=reuse).get(STAGE, KEY, make).folder)


def read(folder: Path) -> Weights:
    return checkpoint.read(folder, tiny_net)[0].state_dict()


def is_equal(here: Weights, there: Weights) -> bool:
    return here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("reuse", [True, False])
def test_whatever_fails_the_old_result_is_there_and_a_retry_ends_in_the_same_bits(
    tmp_path: Path, disk: Disk, reuse: bool
) -> None:
    whole, number, refusals = work(tmp_path / "whole"), 0, 0
    shutil.copytree(tmp_path / "whole", tmp_path / "old")
    while True:
        number += 1
        root = tmp_path / str(number)
        if not reuse:  # then it replaces the result of an earlier run
            shutil.copytree(tmp_path / "old", root)
        disk.break_at(number, is_lasting=number % 2 == reuse)
        try:
            work(root, reuse=reuse)
        except StoreError as error:
            refusals += 1
            assert "No space left on device" in str(error)  # noqa: PT017 - some operations may fail unnoticed
        reached = disk.count
        disk.heal()
        if not reuse:
            entry = Store(root=root, reuse=True).get(
                STAGE, KEY, lambda folder: pytest.fail("the old one is lost")
            )
            assert is_equal(read(entry.folder), whole)
        assert is_equal(work(root, reuse=reuse), whole)
        assert not list(root.glob("*/*.partial"))
        shutil.rmtree(root)
        if reached < number:
            break
    # two epochs of progress, two files, a manifest and a name are more operations than these
    assert number > 30
    assert refusals > 25


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_a_failing_training_says_which_disk_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(durable.Checked, "write", refuses)
        with pytest.raises(
            StoreError, match=rf"train/{KEY} of the store .*{os.strerror(number)} .*store\.root="
        ):
            work(tmp_path)
    assert is_equal(work(tmp_path), work(tmp_path / "whole"))
