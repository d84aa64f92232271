"""Gates: where the channels of a group enter the network, and how the loss changes if they are closed there.

A gate is a factor, now 1, on one channel of one layer's output. The derivative of the loss by a gate needs no
gate in the network: it is the sum of parameter times gradient over the parameters the output is linear in.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from segprune.graph.group import ChannelGroup, Member
from segprune.graph.layers import is_depthwise
from segprune.model.contract import SegmentationNet
from segprune.pruner.gather import filter_rows, producers

Norm = nn.modules.batchnorm._NormBase | nn.GroupNorm  # the first: batch norms and instance norms
Variant = Literal["gate", "gamma"]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One layer whose output carries channels of a group.

    Attributes:
        member: The layer's positions and the group channels there.
        layer: A convolution, a linear layer or a norm.
        is_passing: The layer passes on what another one made (a depthwise convolution, the norm behind it, a
            norm behind a sum). Its input is counted at the maker; by itself it only adds a constant, and this gate
            closes only that constant. Removal is then counted exactly if the activations in between are positively
            homogeneous, as ReLU is. A norm without running statistics is not passing: it undoes every factor before
            it.
    """

    member: Member
    layer: nn.Module
    is_passing: bool

    def parameters(self) -> list[nn.Parameter]:
        """The parameters from whose gradients the derivative is computed."""
        return [
            parameter
            for name, parameter in self.layer.named_parameters(recurse=False)
            if name == "bias" or not self.is_passing
        ]

    def derivative(self, gradient: Mapping[nn.Parameter, Tensor], variant: Variant) -> Tensor:
        """Derivative of the loss by a gate at every position of the layer: (C_layer,) float64 CPU.

        Args:
            gradient: Of the loss, by each of ``parameters()``.
            variant: ``gamma`` leaves out the shift of a norm.
        """
        own = dict(self.layer.named_parameters(recurse=False))
        weight, bias = own["weight"], own.get("bias")
        if self.is_passing:
            return _constant(self.layer) * _double(gradient[own["bias"]])
        total = (filter_rows(self.layer, weight) * filter_rows(self.layer, gradient[weight])).sum(1)
        if bias is None or (variant == "gamma" and isinstance(self.layer, Norm)):
            return total
        return total + _double(bias) * _double(gradient[bias])


def find_gates(
    net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor, variant: Variant
) -> dict[str, tuple[Gate, ...]]:
    """Group name -> its gates, one per layer that makes its channels or adds to them in passing.

    A maker that only a norm reads has its gate behind the norm, where the paper puts it; one that something
    else reads too (the stem of a pre-activation network) keeps its own, and the norm passes it on. ``gamma``
    ignores the shifts of norms, so it has no gates on passing layers.

    Args:
        net: In eval mode.
        groups: Whose channels the gates are on.
        image: (N, 3, H, W), run once, forward and backward, to see which layers read which convolution.
        variant: ``gamma`` leaves out the shifts of norms.

    Raises:
        ConfigError: A channel that no convolution makes.
    """
    behind = _norms_behind(net, groups, image)
    gates = {group.name: _makers(net, group, behind) + _passers(net, group, behind) for group in groups}
    if variant == "gate":
        return gates
    return {name: tuple(gate for gate in found if not gate.is_passing) for name, found in gates.items()}


@contextmanager
def scaled_norms(net: SegmentationNet) -> Iterator[None]:
    """Within the block, norms without scale and shift have ones and zeros, whose gates have a derivative."""
    norms = nn.modules.batchnorm._NormBase
    bare = [layer for layer in net.modules() if isinstance(layer, norms) and not layer.affine]
    try:
        for norm in bare:
            for name, value in (("weight", 1.0), ("bias", 0.0)):
                values = next(net.parameters()).new_full((norm.num_features,), value)
                norm.register_parameter(name, nn.Parameter(values))
        yield
    finally:
        for norm in bare:
            norm.register_parameter("weight", None)
            norm.register_parameter("bias", None)


def _norms(net: SegmentationNet, group: ChannelGroup) -> list[tuple[Member, Norm]]:
    pairs = [(member, net.get_submodule(member.layer)) for member in group.members if member.axis == "out"]
    return [(member, layer) for member, layer in pairs if isinstance(layer, Norm)]


def _makers(net: SegmentationNet, group: ChannelGroup, behind: Mapping[str, str]) -> tuple[Gate, ...]:
    norm_of = {member.layer: (member, layer) for member, layer in _norms(net, group)}
    places = [norm_of.get(behind.get(made.layer, ""), (made, layer)) for made, layer in producers(net, group)]
    # by name, since makers that share one norm share its gate
    gates = {member.layer: Gate(member=member, layer=layer, is_passing=False) for member, layer in places}
    return tuple(gates.values())


def _passers(net: SegmentationNet, group: ChannelGroup, behind: Mapping[str, str]) -> tuple[Gate, ...]:
    """With the norms that undo what comes before them, so that they count as makers."""
    at_maker = {behind.get(member.layer) for member, _ in producers(net, group)}
    layers = [(member, net.get_submodule(member.layer)) for member in group.members if member.axis == "out"]
    return tuple(
        Gate(member=member, layer=layer, is_passing=not isinstance(layer, Norm) or _has_statistics(layer))
        for member, layer in layers
        if (is_depthwise(layer) and layer.bias is not None)
        or (isinstance(layer, Norm) and member.layer not in at_maker)
    )


def _has_statistics(norm: nn.Module) -> bool:
    return bool(getattr(norm, "track_running_stats", False))


def _norms_behind(net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> dict[str, str]:
    """Maker -> the norm that reads the very tensor it gives, where nothing else does.

    A zero is added to what a maker gives, and norms read it without. If the logits depend on that zero, so does
    something besides the norms. A norm that also reads something else is behind none of its makers.
    """
    makers = {member.layer: layer for group in groups for member, layer in producers(net, group)}
    readers = {member.layer: layer for group in groups for member, layer in _norms(net, group)}
    zeros = {name: torch.zeros((), device=image.device, requires_grad=True) for name in makers}
    marked: dict[int, _Marked] = {}
    reads: dict[str, set[str]] = {name: set() for name in readers}
    with ExitStack() as hooks, torch.enable_grad():
        for name, layer in makers.items():
            hooks.enter_context(layer.register_forward_hook(partial(_mark, marked, name, zeros[name])))
        for name, layer in readers.items():
            hooks.enter_context(layer.register_forward_pre_hook(partial(_read_unmarked, marked, reads[name])))
        image = image.detach().requires_grad_()
        totals = [head.sum() for head in net.all_logits(image)]
        _, *slopes = torch.autograd.grad(totals, (image, *zeros.values()), allow_unused=True)
    count = Counter(maker for read in reads.values() for maker in read)
    alone = {name for name, slope in zip(zeros, slopes, strict=True) if slope is None and count[name] == 1}
    return {maker: norm for norm, read in reads.items() if read <= alone for maker in read}


class _Marked(NamedTuple):
    """The output of a maker; ``tensor``, with the zero, is kept so that no other one takes its id."""

    maker: str
    unmarked: Tensor
    tensor: Tensor


def _mark(
    marked: dict[int, _Marked], maker: str, zero: Tensor, _layer: nn.Module, _inputs: object, output: Tensor
) -> Tensor:
    tensor = output + zero
    marked[id(tensor)] = _Marked(maker, output, tensor)
    return tensor


def _read_unmarked(
    marked: Mapping[int, _Marked], read: set[str], _layer: nn.Module, inputs: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    found = marked.get(id(inputs[0]))
    read.add(found.maker if found else "")  # no maker's name
    return (found.unmarked, *inputs[1:]) if found else inputs


def _constant(layer: nn.Module) -> Tensor:
    """(C_layer,) float64 CPU: the output of the layer for an input of zeros."""
    bias = _double(layer.get_parameter("bias"))
    if not isinstance(layer, Norm):
        return bias
    mean, variance = _double(layer.get_buffer("running_mean")), _double(layer.get_buffer("running_var"))
    return bias - _double(layer.get_parameter("weight")) * mean / (variance + layer.eps).sqrt()


def _double(values: Tensor) -> Tensor:
    return values.detach().cpu().double()
