"""Hand-made networks and groups, and what the laws do to a network."""

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from segprune.graph.group import ChannelGroup, Member, Scores
from segprune.graph.layers import is_depthwise
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Pruner
from segprune.pruner.gather import ConvTranspose
from tests.toys import toy, toy_calibration


@functools.cache
def traced(kind: type[SegmentationNet]) -> tuple[ChannelGroup, ...]:
    return trace(toy(kind))


def group_of(groups: Sequence[ChannelGroup], layer: str) -> ChannelGroup:
    """The group that has the layer as a maker of its channels."""
    return next(g for g in groups if any(m.layer == layer and m.axis == "out" for m in g.members))


def slots(
    net: SegmentationNet, group: ChannelGroup, axes: tuple[str, ...]
) -> Iterator[tuple[Tensor, int, Tensor]]:
    """Every tensor along which the group's channels lie, the dimension, and the position of each channel."""
    for member in group.members:
        layer = net.get_submodule(member.layer)
        if member.axis not in axes or (member.axis == "in" and is_depthwise(layer)):
            continue
        position = torch.empty(group.size, dtype=torch.int64)
        position[member.root] = member.own
        if member.axis == "in":
            yield layer.weight.data, 0 if isinstance(layer, ConvTranspose) else 1, position
            continue
        yield layer.weight.data, 1 if isinstance(layer, ConvTranspose) else 0, position
        vectors = [layer.bias, *layer.buffers()]
        for vector in vectors:
            if vector is not None and vector.dim() == 1:
                yield vector.data, 0, position


def permute(net: SegmentationNet, group: ChannelGroup, order: Tensor) -> None:
    """Channel c becomes the former channel ``order[c]``; the network computes the same."""
    for tensor, dim, position in slots(net, group, ("out", "in")):
        tensor.index_copy_(dim, position, tensor.index_select(dim, position[order]))


def kill(net: SegmentationNet, group: ChannelGroup, *, channel: int) -> None:
    """Weights, biases, norm scales and statistics of a channel become 0 where it is made."""
    for tensor, dim, position in slots(net, group, ("out",)):
        tensor.index_fill_(dim, position[channel], 0.0)


def duplicate(net: SegmentationNet, group: ChannelGroup, *, source: int, target: int) -> None:
    """The target channel is made exactly as the source channel is."""
    for tensor, dim, position in slots(net, group, ("out",)):
        tensor.index_copy_(dim, position[[target]], tensor.index_select(dim, position[[source]]))


def disturb(net: SegmentationNet) -> None:
    """Flags, gradients and hooks of all sorts, to see whether they survive."""
    for index, module in enumerate(net.modules()):
        module.training = index % 3 == 0
    for index, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(index % 2 == 0)
        if index % 4 == 0:
            parameter.grad = torch.full_like(parameter, float(index))
    next(net.children()).register_forward_hook(lambda *_: None)


def snapshot(net: SegmentationNet) -> dict[str, object]:
    """Everything a pruner could have left changed."""
    state: dict[str, object] = {f"state {k}": v.clone() for k, v in net.state_dict().items()}
    for name, module in net.named_modules():
        state[f"training {name}"] = module.training
        state[f"hooks {name}"] = (
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            len(module._backward_hooks),
            len(module._backward_pre_hooks),
        )
        state[f"attributes {name}"] = sorted(vars(module))
    for name, parameter in net.named_parameters():
        state[f"requires_grad {name}"] = parameter.requires_grad
        state[f"grad {name}"] = None if parameter.grad is None else parameter.grad.clone()
        state[f"hooks of {name}"] = len(parameter._backward_hooks or {})
    return state


def same(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    return first == second


def network_of(*layers: nn.Module) -> SegmentationNet:
    """A network that holds the layers as ``0``, ``1``, ... and runs them one after the other."""

    class Chain(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            for index, layer in enumerate(layers):
                self.add_module(str(index), layer)

        def forward(self, image: Tensor) -> Tensor:
            for layer in layers:
                image = layer(image)
            return image

    return Chain().eval()


def whole(size: int, *layers: str) -> ChannelGroup:
    """A group of which every layer makes all channels."""
    index = torch.arange(size)
    members = tuple(Member(layer=layer, axis="out", own=index, root=index) for layer in layers)
    return ChannelGroup(name=layers[0], size=size, members=members)


def conv_of(rows: list[list[float]], bias: float | None = None) -> nn.Conv2d:
    """A 1x1 convolution with the rows as filters."""
    layer = nn.Conv2d(len(rows[0]), len(rows), 1, bias=bias is not None)
    layer.weight.data = torch.tensor(rows)[:, :, None, None]
    if bias is not None:
        layer.bias.data.fill_(bias)
    return layer


def scores_of(pruner: Pruner, net: SegmentationNet, *groups: ChannelGroup) -> Scores:
    return pruner(net, groups, toy_calibration())
