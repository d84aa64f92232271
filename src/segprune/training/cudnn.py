"""How cuDNN chooses among its algorithms while all batches have one size."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def is_timed(device: torch.device) -> bool:
    """Whether cuDNN takes the algorithm that is fastest here; on a GPU, unless torch was told to be deterministic.

    Two algorithms round otherwise, and the fastest one of a run may not be that of the next.
    """
    is_bound = torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.deterministic
    return device.type == "cuda" and not is_bound


@contextmanager
def one_size(device: torch.device) -> Iterator[None]:
    """Within the ``with`` block, cuDNN times its algorithms for each new size of inputs; see ``is_timed``."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or is_timed(device)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
