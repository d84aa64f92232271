import time

import pytest
import torch

from segprune.distill.clock import Clock


def test_times_of_a_name_add_up_until_they_are_cleared() -> None:
    clock = Clock(torch.device("cpu"))
    for _ in range(3):
        with clock("teacher"):
            time.sleep(0.01)
    with clock("term"):
        pass
    assert 0.03 <= clock.seconds("teacher") < 1
    assert clock.seconds("term") < 0.01
    assert clock.seconds("other") == 0
    clock.clear()
    assert clock.seconds("teacher") == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_timed_without_waiting_for_it() -> None:
    clock, device = Clock(torch.device("cuda")), torch.device("cuda")
    big = torch.randn(4096, 4096, device=device)
    started = time.perf_counter()
    with clock("teacher"):
        for _ in range(50):
            big = (big @ big) * 1e-4
    queued = time.perf_counter() - started
    assert clock.seconds("teacher") > queued
