from typing import Any

import pytest
import torch

from segprune.dataset import workers
from segprune.dataset.workers import cores, workers_for
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
