"""From a network to its channel groups: which channels must be removed together."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from segprune.graph.dependency import dependency_graph
from segprune.graph.group import ChannelGroup, Member
from segprune.graph.layers import Conv, is_depthwise
from segprune.model.contract import SegmentationNet


def trace(net: SegmentationNet) -> tuple[ChannelGroup, ...]:
    """The prunable channel groups of a network, in the order of its layers.

    A group is named after the first layer that makes its channels.

    Never in a group are: the layers that make the class logits, which are found by walking back from the outputs;
    the inner channels of training-only heads, which are not deployed; channels that a sum or a depthwise
    convolution joins with those of the image; and what ``_is_prunable`` leaves out. The network stays as it is.

    Raises:
        ConfigError: A layer runs in training or evaluation that the trace did not see, so that it would keep its
            width.
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
    deployed = (group for group in groups if not net.only_trains(group.name))
    return tuple(sorted(deployed, key=lambda group: order[group.name]))


def output_layers(graph: Any) -> set[nn.Module]:
    """The convolutions and linear layers whose outputs are the logits, by walking back from the outputs."""
    outputs = (node for node in graph.module2node.values() if not node.outputs)
    return {module for node in outputs for module in _upstream(node, until=_is_filter) if _is_filter(module)}


def rescaling_layers(graph: Any) -> set[nn.Module]:
    """Layers that only rescale what others make: they make a factor that is computed from the other factor."""
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


def _is_filter(layer: nn.Module) -> bool:
    return isinstance(layer, Conv | nn.Linear)


def _is_maker(layer: nn.Module) -> bool:
    return _is_filter(layer) and not is_depthwise(layer)


def _channel_group(
    group: Any, graph: Any, names: dict[nn.Module, str], rescaling: set[nn.Module]
) -> ChannelGroup:
    size, members = len(group[0].idxs), []
    for item in group:
        layer = item.dep.target.module
        if layer not in names:
            continue  # an operation without parameters, such as an addition or a concatenation
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
            continue  # one slope for all channels: it stays when a channel is removed
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
        and _is_filter(layers[member.layer])
        and member.own.tolist() == member.root.tolist() == list(range(size))
    )
    return ChannelGroup(name=name, size=size, members=tuple(ordered))


def _is_prunable(group: Any, graph: Any) -> bool:
    """Whether single channels of a group can be removed.

    They cannot if one of the layers is a one-channel gate, a grouped convolution, a norm over several channels or
    an attention with heads of a fixed width, or if an operation hands parts of the channels to different layers or
    turns channels into pixels.
    """
    for item in group:
        layer, made_by = item.dep.target.module, item.dep.target.grad_fn
        if not isinstance(layer, nn.Module):
            return False
        if isinstance(layer, Conv) and layer.groups > 1 and not is_depthwise(layer):
            return False
        if isinstance(layer, nn.GroupNorm | nn.LayerNorm | nn.MultiheadAttention):
            return False
        if made_by.name().startswith("Pixel") or (
            made_by.name().startswith(("Split", "Slice")) and made_by._saved_dim == 1
        ):
            return False
        if graph.is_out_channel_pruning_fn(item.dep.handler) and graph.get_out_channels(layer) == 1:
            return False
    return True
