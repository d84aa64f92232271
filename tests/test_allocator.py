import gc
import os
import platform
import resource
import subprocess
import sys
import weakref

import pytest

from segprune import allocator
from segprune.allocator import give_back, keep_freed

FAULTS = """
import resource
import numpy as np
from segprune.allocator import keep_freed
keep_freed()
def step():
    made = [np.ones(3 << 17) for _ in range(40)]  # 3 MB each, as a feature map; all of them are freed
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / 5e6)
"""
is_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def fetched_mb(**variables: str) -> float:
    """Megabytes that a step takes from the system although the one before it needed as many."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@pytest.mark.slow
@is_glibc
def test_a_step_takes_the_memory_that_the_one_before_it_freed() -> None:
    assert fetched_mb() < 10


@pytest.mark.slow
@is_glibc
def test_what_somebody_set_in_the_environment_stays() -> None:
    assert fetched_mb(MALLOC_TRIM_THRESHOLD_="0") > 100


@is_glibc
def test_free_memory_and_garbage_go_back() -> None:
    class Node:
        other: "Node"

    def resident() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    keep_freed()
    node = Node()
    node.other = node
    found = weakref.ref(node)
    gc.disable()
    try:
        blocks = [b"x" * (1 << 20) for _ in range(50)]
        del node, blocks
        held = resident()
        give_back()
    finally:
        gc.enable()
    assert found() is None
    assert held - resident() > 20e6


def test_a_system_without_these_functions_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    keep_freed()
    give_back()
