"""The only place that seeds: every random choice derives from the run's seed and a name."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *path: str | int) -> int:
    """A seed for one purpose, e.g. ``derive(seed, "epoch", 3)``; different purposes give unrelated seeds."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


@contextmanager
def seeded(seed: int, *path: str | int, device: torch.device | None = None) -> Iterator[None]:
    """Within the block, the torch RNG of CPU and ``device`` starts at a derived seed; then it is restored."""
    is_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if is_gpu else []):
        torch.manual_seed(derive(seed, *path))
        yield
