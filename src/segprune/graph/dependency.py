"""torch-pruning's graph of a network: which layers make channels and which ones read them."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from segprune.errors import ConfigError
from segprune.graph.layers import Conv
from segprune.model.contract import SegmentationNet

Norm = nn.modules.batchnorm._NormBase
TRACE_SIZE_HW = (64, 64)
"""Small on purpose: the graph keeps every activation of the traced forward alive."""


@contextmanager
def dependency_graph(net: SegmentationNet) -> Iterator[tuple[SegmentationNet, Any]]:
    """A traced copy of the network on the CPU, and torch-pruning's graph of it.

    The copy is in eval mode, with gradients on for every parameter: torch-pruning silently
    leaves frozen layers out. The graph is that of a ``_Traced`` copy.
    """
    twin = copy.deepcopy(net).cpu().eval()
    for parameter in twin.parameters():
        parameter.requires_grad = True
    image = _image(twin, 1)
    graph = tp.DependencyGraph()
    with torch.enable_grad():
        graph.build_dependency(
            _Traced(twin),
            example_inputs=(image,),
            forward_fn=lambda module, inputs: module(inputs[0]),
            verbose=False,
        )
    _refuse_untraced_layers(twin, graph)
    try:
        yield twin, graph
    finally:
        for node in graph.module2node.values():
            vars(node).clear()  # they hold each other, and with their operations every activation
        graph.module2node.clear()


class _Traced(nn.Module):
    """A network with a layer for its image and a node for each of its outputs, which have none by themselves.

    Without them, channels that are concatenated to the image would be counted from 0, channels that are added to it
    cut without it, and logits that another layer reads taken for features.
    """

    def __init__(self, net: SegmentationNet) -> None:
        super().__init__()
        self.net = net
        empty = nn.Conv2d(3, 3, 1, bias=False, device="meta", dtype=next(net.parameters()).dtype)
        self.image = empty.to_empty(device="cpu")
        nn.init.dirac_(self.image.weight)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(logits * 1 for logits in self.net.traced_logits(self.image(image)))


def _refuse_untraced_layers(net: SegmentationNet, graph: Any) -> None:
    ran: set[nn.Module] = set()
    layers = [module for module in net.modules() if isinstance(module, Conv | nn.Linear | Norm)]
    hooks = [layer.register_forward_hook(lambda module, *_: ran.add(module)) for layer in layers]
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    image = _image(net, 2)
    rng = torch.get_rng_state()
    try:
        with torch.no_grad():
            net(image)
            net.train().all_logits(image)
    finally:
        torch.set_rng_state(rng)
        net.eval()
        _remove(hooks)
        for name, buffer in net.named_buffers():
            buffer.copy_(buffers[name])
    names = {module: name for name, module in net.named_modules()}
    missed = sorted(names[module] for module in ran if module not in graph.module2node)
    if missed:
        raise ConfigError(
            f"model: {type(net).__name__} runs layers that its traced_logits does not reach: "
            f"{', '.join(missed[:5])}. They would keep their width while their inputs are cut. Let "
            "traced_logits run every layer that training and evaluation run."
        )


def _image(net: SegmentationNet, count: int) -> torch.Tensor:
    """(count, 3, *TRACE_SIZE_HW) in [0, 1), always the same, in the network's own precision."""
    image = torch.rand(count, 3, *TRACE_SIZE_HW, generator=torch.Generator().manual_seed(0))
    return image.to(next(net.parameters()).dtype)


def _remove(hooks: Iterable[Any]) -> None:
    for hook in hooks:
        hook.remove()
