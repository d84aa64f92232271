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
def seeded(seed: int, *path: str | int) -> Iterator[None]:
    """The global torch RNG starts at a derived seed inside and is as it was outside."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, *path))
        yield
