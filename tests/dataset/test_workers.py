import shutil
from typing import Any

import pytest
import torch

from segprune.dataset import workers
from segprune.dataset.workers import cores, free_shared, refuse_crowd, workers_for
from segprune.errors import ConfigError
from tests.tiny import tiny_data

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("asked", "decoding", "device", "cores_here", "jobs", "expected"),
    [
        (3, "none", CPU, 64, None, 3),  # a number is taken
        (0, "often", GPU, 64, None, 0),
        ("auto", "none", GPU, 64, None, 0),
        ("auto", "once", CPU, 64, None, 0),
        ("auto", "once", GPU, 64, None, 12),
        ("auto", "often", CPU, 4, None, 4),
        ("auto", "often", GPU, 64, None, 12),
        ("auto", "often", GPU, 64, "8", 8),
        ("auto", "often", GPU, 4, "8", 1),
    ],
)
def test_files_are_loaded_by_as_many_processes_as_there_are_cores_for_a_job(
    asked: Any,
    decoding: str,
    device: torch.device,
    cores_here: int,
    jobs: str | None,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: cores_here)
    monkeypatch.delenv(workers.JOBS, raising=False)
    if jobs is not None:
        monkeypatch.setenv(workers.JOBS, jobs)
    assert workers_for(asked, tiny_data(decoding=decoding), device) == expected


def test_there_is_a_core() -> None:
    assert cores() >= 1


def test_batches_that_wait_must_fit_into_shared_memory():
    # 3 processes keep 2 batches of 1000 bytes each
    refuse_crowd("train.batch_size", 3, 1000, 6000)
    refuse_crowd("train.batch_size", 3, 1000, None)
    refuse_crowd("train.batch_size", 0, 1000, 0)
    with pytest.raises(
        ConfigError,
        match=r"workers is 3, .* 2 batches of train.batch_size in /dev/shm: 0.0 MB, .* Give workers=0, a smaller",
    ):
        refuse_crowd("train.batch_size", 3, 1000, 5999)


def test_free_shared_memory_is_that_of_the_system():
    free = free_shared()
    assert free is None or 0 <= free <= shutil.disk_usage("/dev/shm").total
