"""From a network to its channel groups: which channels live and die together."""

import copy
import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup, Member
from segprune.graph.layers import Conv, is_depthwise
from segprune.model.contract import SegmentationNet

Norm = nn.modules.batchnorm._NormBase
TRACE_SIZE_HW = (64, 64)
"""Small on purpose: the graph keeps every activation of the traced forward alive."""


@contextmanager
def dependency_graph(net: SegmentationNet) -> Iterator[tuple[SegmentationNet, Any]]:
    """A traced copy of the network on the CPU, and torch-pruning's graph of it.

    The copy is in eval mode, with gradients on for every parameter: a frozen layer would be missing from the
    graph without a word. What the graph is of is a ``_Traced`` copy.
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
        graph.module2node.clear()
        del graph
        gc.collect()


class _Traced(nn.Module):
    """A network with a layer for what has none: its image, and a node for each of its outputs.

    Without, channels beside those of the image would be counted from 0, channels added to the image's cut
    without it, and logits that feed another layer taken for features.
    """

    def __init__(self, net: SegmentationNet) -> None:
        super().__init__()
        self.net = net
        empty = nn.Conv2d(3, 3, 1, bias=False, device="meta", dtype=next(net.parameters()).dtype)
        self.image = empty.to_empty(device="cpu")
        nn.init.dirac_(self.image.weight)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(logits * 1 for logits in self.net.traced_logits(self.image(image)))


def trace(net: SegmentationNet) -> tuple[ChannelGroup, ...]:
    """The prunable channel groups of a network, in the order of its layers.

    A group is named after the first layer that makes its channels.

    The layers that make the class logits are found by walking back from the outputs and are never in a group;
    neither are the inner channels of training-only heads, which nobody deploys, nor channels that a sum or a
    depthwise convolution joins with those of the image. The network is left as it was.

    Raises:
        ConfigError: A layer runs in training or evaluation that the trace did not see, so that a cut would
            leave it behind.
    """
    with dependency_graph(net) as (twin, graph):
        names = {module: name for name, module in twin.named_modules()}
        rescaling = rescaling_layers(graph)
        groups = tuple(
            _channel_group(group, graph, names, rescaling)
            for group in graph.get_all_groups(
                ignored_layers=[graph.model.image, *output_layers(graph)], root_module_types=(Conv, nn.Linear)
            )
            if _is_prunable(group, graph)
        )
    order = {name: index for index, (name, _) in enumerate(net.named_modules())}
    deployed = (group for group in groups if group.name.split(".")[0] not in net.training_only)
    return tuple(sorted(deployed, key=lambda group: order[group.name]))


def output_layers(graph: Any) -> list[nn.Module]:
    """The convolutions and linear layers whose outputs are the logits, by walking back from the outputs."""
    found: dict[nn.Module, None] = {}
    for node in graph.module2node.values():
        if node.outputs:
            continue
        stack, seen = [node], set()
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            if isinstance(current.module, Conv | nn.Linear):
                found[current.module] = None
            else:
                stack.extend(current.inputs)
    return list(found)


def rescaling_layers(graph: Any) -> set[nn.Module]:
    """Layers that only rescale what others make: of two factors, those behind the one computed from the other."""
    found: set[nn.Module] = set()
    for node in graph.module2node.values():
        if len(node.inputs) != 2 or not node.grad_fn.name().startswith("MulBackward"):
            continue
        for factor, other in (node.inputs, node.inputs[::-1]):
            rescaling = _upstream(factor, until=_is_maker)
            makers = set(filter(_is_maker, _upstream(other, until=_is_maker)))
            if makers and makers <= _upstream(factor) and rescaling.isdisjoint(_upstream(other)):
                found |= rescaling
    return found


def _upstream(node: Any, until: Callable[[nn.Module], bool] = lambda _: False) -> set[nn.Module]:
    """The layers and operations that a node is computed from, itself included, back to the first of a kind."""
    stack, seen = [node], set()
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            stack.extend(() if until(current.module) else current.inputs)
    return {current.module for current in seen}


def _is_maker(layer: nn.Module) -> bool:
    return isinstance(layer, Conv | nn.Linear) and not is_depthwise(layer)


def _channel_group(
    group: Any, graph: Any, names: dict[nn.Module, str], rescaling: set[nn.Module]
) -> ChannelGroup:
    size, members = len(group[0].idxs), []
    for item in group:
        layer = item.dep.target.module
        if layer not in names:
            continue  # an operation without parameters, such as an addition or a concatenation
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
            continue  # one slope for all channels, none of which goes with a channel
        own, channel = torch.as_tensor(item.idxs), torch.as_tensor(item.root_idxs)
        made = "scale" if layer in rescaling else "out"
        axes: tuple[str, ...] = (made,) if graph.is_out_channel_pruning_fn(item.dep.handler) else ("in",)
        if is_depthwise(layer):
            axes = (made, "in")  # a depthwise convolution reads and makes the same channels
        members += [Member(layer=names[layer], axis=axis, own=own, root=channel) for axis in axes]  # type: ignore[arg-type]
    unique = {(member.layer, member.axis): member for member in members}
    order = {name: index for index, name in enumerate(names.values())}
    ordered = sorted(unique.values(), key=lambda member: order[member.layer])
    layers = {name: layer for layer, name in names.items()}
    name = next(
        member.layer
        for member in sorted(ordered, key=lambda member: member.axis == "scale")
        if member.axis != "in"
        and isinstance(layers[member.layer], Conv | nn.Linear)
        and member.own.tolist() == member.root.tolist() == list(range(size))
    )
    return ChannelGroup(name=name, size=size, members=tuple(ordered))


def _is_prunable(group: Any, graph: Any) -> bool:
    """Whether single channels can go: no one-channel gate, grouped convolution or norm over several channels."""
    for item in group:
        layer = item.dep.target.module
        if not isinstance(layer, nn.Module):
            return False
        if isinstance(layer, Conv) and layer.groups > 1 and not is_depthwise(layer):
            return False
        if isinstance(layer, nn.GroupNorm | nn.LayerNorm):
            return False
        if graph.is_out_channel_pruning_fn(item.dep.handler) and graph.get_out_channels(layer) == 1:
            return False
    return True


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
