"""A network in a mode for scoring, and as it was afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from segprune.model.contract import SegmentationNet


@contextmanager
def scoring_mode(
    net: SegmentationNet, device: torch.device, *, trainable: Sequence[nn.Parameter]
) -> Iterator[None]:
    """Eval mode, full precision, gradients for ``trainable`` alone; flags and global RNG are restored.

    Eval mode, because batch norm would otherwise change its statistics, and the images of a batch each other's
    scores.
    """
    training = {module: module.training for module in net.modules()}
    needs_grad = {parameter: parameter.requires_grad for parameter in net.parameters()}
    chosen = set(trainable)
    cuda = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=cuda),
        torch.autocast(device.type, enabled=False),
        torch.set_grad_enabled(bool(trainable)),
    ):
        try:
            net.eval()
            for parameter in needs_grad:
                parameter.requires_grad = parameter in chosen
            yield
        finally:
            for parameter, flag in needs_grad.items():
                parameter.requires_grad = flag
            for module, flag in training.items():
                module.training = flag
