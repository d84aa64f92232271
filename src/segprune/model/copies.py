"""Copies of networks, and how their tensors lie in memory."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Net = TypeVar("Net", bound=nn.Module)


def duplicate(net: Net) -> Net:
    """A copy of a network that has nothing in common with it; the copy has no gradients.

    Tensors that a network keeps of its last pass, as weight norms of before torch 2 and hooks do, are copied by
    value, which ``copy.deepcopy`` refuses.
    """
    with _ByValue():
        twin = copy.deepcopy(net)
    twin.zero_grad(set_to_none=True)
    return twin


class _ByValue(TorchFunctionMode):
    """Within it, tensors that were computed from others are copied too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            return args[0].detach().clone()
        return func(*args, **(kwargs or {}))


def channels_last(net: Net) -> Net:
    """The network itself, with its tensors of four dimensions laid out as images are; others stay as they lie."""
    net._apply(  # type: ignore[no-untyped-call]
        lambda tensor: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
    )
    return net


def ready(net: Net, device: torch.device) -> Net:
    """The network itself, to be run on a device: in evaluation mode, channels last like the images."""
    return channels_last(net.to(device)).eval()
