"""How many processes load data where the configuration leaves it open."""

import os
from typing import Literal

import torch

from segprune.dataset.contract import SegData

JOBS = "SEGPRUNE_JOBS"
"""Environment variable that tells a job of a sweep how many jobs share the CPU cores."""
MOST = 12
"""One GPU is busy with the images of so many: decoding and augmenting a Cityscapes image takes a core 0.1 s."""


def workers_for(asked: int | Literal["auto"], data: SegData, device: torch.device) -> int:
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


def cores() -> int:
    """CPU cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
