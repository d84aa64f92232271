"""Cutting channels out of a network, and the proof that the right ones were cut."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from segprune.errors import BudgetError, CheckpointError
from segprune.graph.dependency import dependency_graph, sight
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.layers import Conv, is_depthwise
from segprune.graph.silence import without
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate

LARGEST_MASK_ERROR = 1e-8
"""Rounding in float64 gives around 1e-15, a wrong channel 1e-2 and more."""


def cut(net: SegmentationNet, plan: PrunePlan) -> SegmentationNet:
    """A smaller copy of the network without the plan's channels; the network itself stays as it is.

    The copy has the device, dtype, train/eval flags and frozen parameters of the original.

    Raises:
        BudgetError: A group of the plan is not a layer of the network, or would lose all its channels.
    """
    if not any(plan.values()):
        return duplicate(net)
    first = next(net.parameters())
    with dependency_graph(net) as (small, graph):
        take(small, graph, plan)
    _restore_flags(small, net)
    return small.to(device=first.device)


def take(net: SegmentationNet, graph: Any, plan: PrunePlan) -> None:
    """Cut a traced network in place.

    Args:
        net: A network that ``graph.build`` gave.
        graph: Torch-pruning's graph of it.
        plan: What goes.

    Raises:
        BudgetError: A group of the plan is not a layer of the network, or would lose all its channels.
    """
    layers = dict(net.named_modules())
    for name, channels in plan.items():
        if not channels:
            continue
        if layers.get(name) not in graph.module2node:
            raise BudgetError(f"the plan cuts {name!r}, which is not a traced layer of {type(net).__name__}")
        root = layers[name]
        prune = graph.get_pruner_of_module(root).prune_out_channels
        group = graph.get_pruning_group(root, prune, sorted(channels))
        if not graph.check_pruning_group(group):
            raise BudgetError(
                f"the plan removes {len(channels)} of the {graph.get_out_channels(root)} channels of {name!r}, "
                "which leaves a layer without any; keep at least one in each"
            )
        group.prune()


def mask_error(
    net: SegmentationNet, small: SegmentationNet, groups: Sequence[ChannelGroup], plan: PrunePlan
) -> float:
    """Relative error in float64 between a cut network and the full one with the same channels set to zero.

    Around 1e-15 for a right cut; a wrong channel index gives 1e-2 or more. Only for networks whose activations map
    0 to 0 and whose norms act on each channel by itself.
    """
    whole, twin = (duplicate(one).cpu().double().eval() for one in (net, small))
    return difference(whole, twin, groups, plan, sight(net).view.size_hw)


def difference(
    whole: SegmentationNet,
    small: SegmentationNet,
    groups: Sequence[ChannelGroup],
    plan: PrunePlan,
    size_hw: tuple[int, int],
) -> float:
    """What ``mask_error`` gives, of networks that are on the CPU in float64 and eval mode and stay as they are.

    Args:
        whole: The network.
        small: It, cut.
        groups: Of the network.
        plan: What was cut.
        size_hw: (H, W) in px of the two images that are compared.
    """
    image = torch.rand(2, whole.bands, *size_hw, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        got = small.all_logits(image)  # first, since that is where a wrong cut ends soonest
        with without(whole, groups, [plan]):
            expected = whole.all_logits(image)
    scale = max(float(logits.abs().max()) for logits in expected)
    worst = max(float((a - b).abs().max()) for a, b in zip(expected, got, strict=True))
    return worst / max(scale, 1e-300)


def _restore_flags(small: nn.Module, net: nn.Module) -> None:
    parameters = dict(net.named_parameters())
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(parameters[name].requires_grad)
        parameter.grad = None
    modules = dict(net.named_modules())
    for name, module in small.named_modules():
        module.training = modules[name].training


@torch.no_grad()
def fit_shapes(net: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Resize every layer of a dense network, in place, to the shapes in the state dict of a cut one.

    Needs no torch-pruning, so that checkpoints do not depend on its version. The values of resized
    parameters are undefined until the state dict is loaded.

    Raises:
        CheckpointError: The state dict has no entry for a parameter of the network.
    """
    for prefix, layer in net.named_modules():
        shapes = {}
        for key, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            name = f"{prefix}.{key}" if prefix else key
            if name in weights:
                shapes[key] = weights[name].shape
            elif key in layer._parameters:
                raise CheckpointError(f"the checkpoint holds no {name!r}; it belongs to another architecture")
            if key in shapes and shapes[key] != tensor.shape:
                _resize(layer, key, shapes[key])
        if "weight" in shapes:
            _set_widths(layer, shapes["weight"])


def _resize(layer: nn.Module, key: str, shape: torch.Size) -> None:
    if key in layer._parameters:
        old = layer._parameters[key]
        if old is not None:
            layer._parameters[key] = nn.Parameter(old.new_empty(shape), requires_grad=old.requires_grad)
    else:
        buffer = layer._buffers[key]
        if buffer is not None:
            layer._buffers[key] = buffer.new_empty(shape)


def _set_widths(layer: nn.Module, weight: torch.Size) -> None:
    if isinstance(layer, Conv):
        if is_depthwise(layer):
            layer.groups = layer.in_channels = layer.out_channels = weight[0]
        elif layer.transposed:
            layer.in_channels, layer.out_channels = weight[0], weight[1] * layer.groups
        else:
            layer.out_channels, layer.in_channels = weight[0], weight[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.num_features = weight[0]
    elif isinstance(layer, nn.GroupNorm):
        each = layer.num_channels // layer.num_groups  # whole groups go
        layer.num_channels, layer.num_groups = weight[0], weight[0] // each
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = weight[0]
