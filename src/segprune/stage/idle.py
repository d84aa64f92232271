"""Networks that a stage hands on without running them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from segprune.model.contract import SegmentationNet
from segprune.stage.state import NetState


@contextmanager
def idle(states: Sequence[NetState], device: torch.device) -> Iterator[None]:
    """Within the ``with`` block, networks wait in the memory of the host while the GPU does other work.

    Args:
        states: Nobody runs them meanwhile.
        device: Where they are, and are again afterwards.
    """
    nets = [state.net for state in states if isinstance(state.net, SegmentationNet)]
    for net in nets:
        net.cpu()
    try:
        yield
    finally:
        for net in nets:
            net.to(device)
