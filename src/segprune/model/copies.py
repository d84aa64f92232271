"""Copies of networks."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def duplicate(net: Net) -> Net:
    """A copy of a network that has nothing in common with it; the copy has no gradients.

    Tensors that a layer computed from others in its last pass, as weight norms of before torch 2 keep them, are
    copied by value, which ``copy.deepcopy`` refuses.
    """
    memo: dict[int, object] = {}
    for module in net.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    twin = copy.deepcopy(net, memo)
    twin.zero_grad(set_to_none=True)
    return twin


def channels_last(net: Net) -> Net:
    """The network itself, with its tensors of four dimensions laid out as images are; others stay as they lie."""
    net._apply(  # type: ignore[no-untyped-call]
        lambda tensor: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
    )
    return net


def ready(net: Net, device: torch.device) -> Net:
    """The network itself, to be run on a device: in evaluation mode, channels last like the images."""
    return channels_last(net.to(device)).eval()
