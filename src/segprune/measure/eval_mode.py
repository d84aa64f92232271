"""A network in evaluation mode, with every training flag restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from segprune.model.contract import Predicts


@contextmanager
def eval_mode(net: nn.Module | Predicts) -> Iterator[None]:
    """Evaluation mode within the block; afterwards every submodule has its own training flag again.

    What is no module has no mode and stays as it is.
    ``net.train(was_training)`` would not do: it also switches on submodules that were frozen on purpose.
    """
    if not isinstance(net, nn.Module):
        yield
        return
    flags = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
