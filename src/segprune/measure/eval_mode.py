"""A network in evaluation mode, with every training flag restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards every submodule has its own training flag again.

    ``net.train(was_training)`` would not do: it also switches on submodules that were frozen on purpose.
    """
    flags = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
