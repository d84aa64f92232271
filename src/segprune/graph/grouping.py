"""From torch-pruning's graph to channel groups, and why some channels are in none."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segprune.graph.build import ties_of
from segprune.graph.closing import Edge, Sink
from segprune.graph.dependency import dependency_graph, said
from segprune.graph.group import ChannelGroup, Member
from segprune.graph.layers import Conv, channel_axis, is_depthwise
from segprune.graph.parts import Part
from segprune.graph.units import joined
from segprune.model.contract import SegmentationNet
from segprune.shortage import shortage

PARTED = "parts of its channels go to different layers"


@dataclass(frozen=True, kw_only=True)
class Whole:
    """Channels that are never cut.

    Attributes:
        layer: Name of a layer that makes them, or of a part of the network.
        channels: How many.
        reason: Why not.
    """

    layer: str
    channels: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """What a graph says of a network.

    Attributes:
        groups: In the order of the network's layers.
        whole: Of what is deployed and makes no logits: what is in no group, likewise; closed parts left out.
        widths: Layer that makes channels, but for the logits and what only trains -> how many it makes.
    """

    groups: tuple[ChannelGroup, ...]
    whole: tuple[Whole, ...]
    widths: dict[str, int]


def grouped(net: SegmentationNet) -> Grouped:
    """The channel groups of a network, not proven yet.

    A group is named after the first layer that makes its channels.

    Never in a group are: the layers that make the class logits, which are found by walking back from the outputs;
    the inner channels of training-only heads, which are not deployed; channels that a sum or a depthwise
    convolution joins with those of the image; and what ``_whole_for`` and ``_misread`` leave out. The network stays
    as it is.

    Raises:
        ConfigError: A layer runs in training or evaluation that the trace did not see, so that it would keep its
            width; or nothing can be followed.
    """
    groups: dict[str, ChannelGroup] = {}
    whole: dict[str, tuple[str, set[str]]] = {}
    with dependency_graph(net) as (twin, graph):
        names = {module: name for name, module in twin.named_modules()}
        rescaling, logits = rescaling_layers(graph), output_layers(graph)
        for root, made, found in _all_groups(graph, {graph.model.image, *logits}):
            group = _group_or_reason(found, graph, names, rescaling, twin)
            if isinstance(group, ChannelGroup):
                groups[group.name] = group
            else:
                whole[names[root]] = group, {names[layer] for layer in made if layer in names}
        widths = {
            names[layer]: int(graph.get_out_channels(layer))
            for layer in graph.module2node
            if layer in names
            and _is_maker(layer)
            and layer not in logits
            and not net.only_trains(names[layer])
        }
    order = {name: index for index, (name, _) in enumerate(net.named_modules())}
    deployed = (group for group in groups.values() if not net.only_trains(group.name))
    left = {
        name: Whole(layer=name, channels=sum(widths.get(layer, 0) for layer in layers), reason=reason)
        for name, (reason, layers) in whole.items()
    }
    return Grouped(
        groups=tuple(sorted(deployed, key=lambda group: order[group.name])),
        whole=tuple(left[name] for name in sorted(left, key=order.__getitem__) if left[name].channels),
        widths=widths,
    )


def _all_groups(graph: Any, ignored: set[nn.Module]) -> Iterator[tuple[nn.Module, set[nn.Module], Any]]:
    """A root, the layers that make its channels, and its group, or why there is none.

    As torch-pruning's ``get_all_groups``, but a group that cannot be made does not end everything.
    """
    visited: set[nn.Module] = set()
    roots = deque(root for root in graph.module2node if root not in ignored and _is_filter(root))
    later: set[nn.Module] = set()
    while roots:
        root = roots.popleft()
        if root in visited:
            continue
        pruner = graph.get_pruner_of_module(root)
        try:
            group = graph.get_pruning_group(
                root, pruner.prune_out_channels, list(range(pruner.get_out_channels(root)))
            )
        except Exception as failure:  # whatever a graph of a foreign network ends in
            if shortage(failure, lambda _: None):
                raise
            yield root, {root}, _lost(failure)
            continue
        if _has_torn_parts(group) and root not in later:
            later.add(root)
            roots.append(root)  # its group may be in that of a layer that makes all of the parts
            continue
        made = {item.dep.target.module for item in group if graph.is_out_channel_pruning_fn(item.dep.handler)}
        visited |= made
        yield root, made, "it is joined with the image or with logits" if made & ignored else group


def _has_torn_parts(group: Any) -> bool:
    """Whether a group has some of the channels that are parted but not all, so that a cut parts them anew."""
    places: dict[int, tuple[list[int], set[tuple[int, int]]]] = {}
    for item in group:
        if isinstance(layer := item.dep.target.module, Part):
            found = places.setdefault(id(layer.widths), (layer.widths, set()))[1]
            found.update((layer.index, place) for place in item.idxs)
    return any(len(found) != sum(widths) for widths, found in places.values())


def _lost(failure: Exception) -> str:
    return f"they cannot be followed ({said(failure)})"


def _group_or_reason(
    found: Any, graph: Any, names: dict[nn.Module, str], rescaling: set[nn.Module], net: nn.Module
) -> ChannelGroup | str:
    """What ``_all_groups`` found as a channel group, or why it is none."""
    if isinstance(found, str):
        return found
    try:
        group = _channel_group(found, graph, names, rescaling)
    except (RuntimeError, TypeError) as failure:  # torch-pruning lost which channel is which
        return _lost(failure)
    if group is None:
        return _whole_for(found, graph) or "no layer makes all of its channels in order"
    return _whole_for(found, graph) or _misread(group, net) or joined(group, net, _pieces(found, graph))


def output_layers(graph: Any) -> set[nn.Module]:
    """The convolutions and linear layers whose outputs are the logits, by walking back from the outputs."""
    outputs = (
        node for node in graph.module2node.values() if not node.outputs and not isinstance(node.module, Sink)
    )
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
) -> ChannelGroup | None:
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
    roots = (
        member.layer
        for member in sorted(ordered, key=lambda member: member.axis == "scale")
        if member.axis != "in"
        and _is_filter(layers[member.layer])
        and member.own.tolist() == member.root.tolist() == list(range(size))
    )
    name = next(roots, None)
    return None if name is None else ChannelGroup(name=name, size=size, members=tuple(ordered))


def _whole_for(group: Any, graph: Any) -> str:
    """Why single channels of a group cannot be removed; empty if they can."""
    if _has_torn_parts(group):
        return PARTED
    for item in group:
        layer, made_by = item.dep.target.module, item.dep.target.grad_fn
        is_made = graph.is_out_channel_pruning_fn(item.dep.handler)
        reason = _whole_at(layer) or ("" if isinstance(layer, Part) else _parted(made_by))
        if not reason and is_made and graph.get_out_channels(layer) == 1:
            reason = "it is joined with a single channel"
        if reason:
            return reason
    return ""


def _whole_at(layer: Any) -> str:
    if isinstance(layer, Edge):
        return f"it goes through {layer.part}, which cannot be followed"
    if not isinstance(layer, nn.Module):
        return "a parameter of its own, outside of any layer, has as many entries"
    for kind in (nn.LayerNorm, nn.MultiheadAttention):
        if isinstance(layer, kind):
            return f"a {kind.__name__} over several of its channels"
    return ""


def _pieces(group: Any, graph: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """(M,) channels, and the (M,) pieces that they are in and that go only as wholes.

    Of each view as heads it is a head or the same place of every head, of equal parts the same place in every part,
    and what comes to one place of a layer by several ways.
    """
    if ties := sorted(ties_of(group)):
        yield torch.tensor(ties).flatten(), torch.arange(len(ties)).repeat_interleave(2)
    parts: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for item in group:
        if isinstance(layer := item.dep.target.module, Part):
            places = torch.as_tensor(item.root_idxs), torch.as_tensor(item.idxs)
            parts.setdefault(id(layer.widths), []).append(places)
        heads = graph.model.heads.get(item.dep.target.grad_fn)
        own = torch.as_tensor(item.idxs)
        if heads is not None and int(own.max()) < heads.channels:
            yield torch.as_tensor(item.root_idxs), heads.pieces(own)
    for found in parts.values():
        channels, places = zip(*found, strict=True)
        yield torch.cat(channels), torch.cat(places)


def _parted(made_by: Any) -> str:
    if made_by.name().startswith("Pixel"):
        return "its channels become pixels"
    if made_by.name().startswith(("Split", "Slice")) and made_by._saved_dim == 1:
        return PARTED
    return ""


def _misread(group: ChannelGroup, net: nn.Module) -> str:
    """What shows without a cut that the members of a group are wrong; empty if nothing does."""
    for member in group.members:
        layer = net.get_submodule(member.layer)
        axis = channel_axis(layer, "weight", member.axis)
        weight = getattr(layer, "weight", None)
        if axis is None or weight is None:
            continue
        if int(member.own.max()) >= weight.shape[axis] * (layer.groups if isinstance(layer, Conv) else 1):
            return "another layer has no places for all of its channels (a view or reshape between them)"
    return ""
