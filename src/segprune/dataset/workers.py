"""How many processes load data where the configuration leaves it open."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segprune.errors import ConfigError

if TYPE_CHECKING:  # whoever starts jobs asks for the cores alone, and need not wait for torch
    import torch

    from segprune.dataset.contract import SegData

JOBS = "SEGPRUNE_JOBS"
"""Environment variable that tells a job of a sweep how many jobs share the CPU cores."""
SHARED = Path("/dev/shm")
PREFETCH = 2
"""Batches that torch has each process make ahead."""
MOST = 12
"""One GPU is busy with the images of so many: decoding and augmenting a Cityscapes image takes a core 0.1 s."""


def workers_for(asked: int | Literal["auto"], data: "SegData", device: "torch.device") -> int:
    """The number of loading processes; 0: the training loads its data itself.

    Images that are in memory, or will be after the first epoch, need none on a CPU, which has nothing to gain from
    loading while it computes. A GPU waits for images of files even if these are decoded, since they are augmented.

    Args:
        asked: A number, which is taken, or ``auto``.
        data: The dataset.
        device: Where the training runs.
    """
    if asked != "auto":
        return asked
    if data.decoding == "none" or (data.decoding == "once" and device.type == "cpu"):
        return 0
    return max(1, min(MOST, cores() // int(os.environ.get(JOBS, "1"))))


def free_shared() -> int | None:
    """Free bytes of the memory that data loading processes share; None where it has no bound of its own."""
    if not SHARED.is_dir():
        return None
    state = os.statvfs(SHARED)
    return state.f_bavail * state.f_frsize


def refuse_crowd(key: str, workers: int, batch_bytes: int, free: int | None) -> None:
    """Check that the batches that wait for the training fit into /dev/shm, which containers have little of.

    Args:
        key: Which key gives the size of a batch.
        workers: Loading processes.
        batch_bytes: Of one batch.
        free: Of /dev/shm, in bytes; ``None``: it has no bound.

    Raises:
        ConfigError: They do not; a run would stop in the midst, or wait for ever.
    """
    needed = workers * PREFETCH * batch_bytes
    if free is None or needed <= free:
        return
    raise ConfigError(
        f"workers is {workers}, and each keeps up to {PREFETCH} batches of {key} in /dev/shm: "
        f"{needed / 1e6:.1f} MB, where {free / 1e6:.1f} MB are free. Give workers=0, a smaller {key}, or a larger "
        "/dev/shm (docker run --shm-size=1g)."
    )


def cores() -> int:
    """CPU cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
