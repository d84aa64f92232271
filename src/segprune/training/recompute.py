"""Gradient checkpointing: what a block computes inside is computed again for the gradients, not kept for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputed(net: nn.Module) -> Iterator[None]:
    """Within the ``with`` block, the network keeps only the inputs of its blocks until the gradients are computed.

    Loss and gradients are the same: dropout draws the same numbers again, and batch norm statistics and other
    buffers change once. Each of the ``blocks`` runs once more for its gradients, with the forward hooks inside;
    torch refuses one whose input was changed in place by then.

    Source: Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174.
    """
    chosen = blocks(net)
    for block in chosen:
        block.forward = partial(_run, block, block.forward)
    try:
        yield
    finally:
        for block in chosen:
            del block.forward


def blocks(net: nn.Module) -> list[nn.Module]:
    """The smallest submodules with two or more layers that have weights, such as residual blocks."""
    chosen = []
    for part in _parts(net):
        if sum(any(p.ndim > 1 for p in layer.parameters(recurse=False)) for layer in part.modules()) > 1:
            chosen += blocks(part) or [part]
    return list(dict.fromkeys(chosen))  # a block may stand at two places


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The submodules that run; a list of modules runs none by itself."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _parts(child)
        else:
            yield child


def _run(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    if not is_grad_enabled():
        return forward(*inputs, **options)
    buffers = [
        (module, name, value.clone())
        for module in block.modules()
        for name, value in module.named_buffers(recurse=False)
    ]

    return checkpoint(
        partial(forward, **options),
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _having(buffers)),
    )


@contextmanager
def _having(buffers: list[tuple[nn.Module, str, Tensor]]) -> Iterator[None]:
    """Put buffers in the place of the present ones for the time of the ``with`` block."""
    present = [(module, name, module.get_buffer(name)) for module, name, _ in buffers]
    for module, name, value in buffers:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in present:
            setattr(module, name, value)
