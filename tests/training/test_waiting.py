"""The time that a training waits for its images."""

import dataclasses
import time
from collections.abc import Iterator

import pytest
import torch

from segprune.dataset.contract import Batch
from segprune.training.waiting import Waits
from tests.tiny import tiny_data

BATCH = Batch(torch.zeros(1, 3, 1, 1), torch.zeros(1, 1, 1))


def slow(seconds: float, count: int) -> Iterator[Batch]:
    for _ in range(count):
        time.sleep(seconds)
        yield BATCH


def test_waiting_is_what_passes_until_a_batch_is_there() -> None:
    waits = Waits()
    for _ in range(2):  # epochs
        for batch in waits(slow(0.02, 3)):
            assert batch is BATCH
            time.sleep(0.04)
    assert 0.12 <= waits.waited_s < waits.whole_s
    assert waits.whole_s - waits.waited_s >= 0.24


@pytest.mark.parametrize(
    ("decoding", "remedy"),
    [("often", "raise dataset.cache_mb"), ("once", "augmenting"), ("none", "images: raise workers")],
)
def test_waiting_is_told_with_what_helps(decoding: str, remedy: str) -> None:
    data, waits = dataclasses.replace(tiny_data(), decoding=decoding), Waits()
    waits.waited_s, waits.whole_s = 45.0, 100.0
    told = waits.told(data, 3)
    assert told is not None
    assert told.startswith("45% of the training's time went into waiting for images: ")
    assert remedy in told
    assert told.endswith("workers (3 now) if cores are idle")


@pytest.mark.parametrize(("waited", "whole"), [(1.9, 10.0), (9.0, 10.0), (19.0, 100.0)])
def test_a_short_wait_is_not_worth_a_word(waited: float, whole: float) -> None:
    waits = Waits()
    waits.waited_s, waits.whole_s = waited, whole
    assert waits.told(tiny_data(), 3) is None
