"""Cutting channels out of a network, and the proof that the right ones were cut."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from segprune.errors import BudgetError, CheckpointError
from segprune.graph.channels import Labels
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.grouping import made_by
from segprune.graph.layers import Conv, Norm, is_depthwise
from segprune.graph.silence import without
from segprune.graph.wiring import TRACE_SIZE_HW, Wiring, wiring
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate

LARGEST_MASK_ERROR = 1e-8
"""Rounding in float64 gives around 1e-15, a wrong channel 1e-2 and more."""


def cut(net: SegmentationNet, plan: PrunePlan, size_hw: tuple[int, int] = TRACE_SIZE_HW) -> SegmentationNet:
    """A smaller copy of the network without the plan's channels; the network itself stays as it is.

    The copy has the device, dtype, train/eval flags and frozen parameters of the original.

    Args:
        net: The network.
        plan: What goes.
        size_hw: (H, W) in px of the images that it is traced on.

    Raises:
        BudgetError: A group of the plan is not a layer of the network, or would lose all its channels.
    """
    if not any(plan.values()):
        return duplicate(net)
    return without_units(net, wired := wiring(net, size_hw), units_of(net, wired, plan))


def units_of(net: SegmentationNet, wired: Wiring, plan: PrunePlan) -> Labels:
    """The units that a plan removes.

    Raises:
        BudgetError: A group of the plan is not a layer of the network, or would lose all its channels.
    """
    layers, gone = dict(net.named_modules()), [np.empty(0, dtype=np.int64)]
    for name, channels in plan.items():
        if not channels:
            continue
        units = made_by(name, layers[name], wired) if name in layers else None
        if units is None:
            raise BudgetError(f"the plan cuts {name!r}, which is not a traced layer of {type(net).__name__}")
        if len(channels) >= len(units):
            raise BudgetError(f"the plan removes all {len(channels)} channels of {name!r}; keep at least one")
        gone.append(units[list(channels)])
    return np.concatenate(gone)


def without_units(net: SegmentationNet, wired: Wiring, gone: Labels) -> SegmentationNet:
    """A copy of a network without these units."""
    small = duplicate(net)
    smaller: dict[int, Tensor] = {}  # by the tensor before, since layers may share one
    for prefix, layer in small.named_modules():
        for own in (layer._parameters, layer._buffers):
            for key, tensor in own.items():
                axes = wired.units.get(f"{prefix}.{key}".lstrip("."))
                if tensor is not None and axes is not None:
                    own[key] = smaller.setdefault(id(tensor), _kept(tensor, axes, gone))
        _fit_widths(prefix, layer, wired, gone)
    return small


def _fit_widths(name: str, layer: nn.Module, wired: Wiring, gone: Labels) -> None:
    """Tell a layer how wide its tensors are now."""
    weight = layer._parameters.get("weight")
    if weight is not None:
        _set_widths(layer, weight.shape)
    elif isinstance(layer, Norm) and layer.running_mean is not None:
        layer.num_features = len(layer.running_mean)
    elif isinstance(layer, Norm) and name in wired.bare:
        layer.num_features = int((~np.isin(wired.bare[name], gone)).sum())


@torch.no_grad()
def _kept(tensor: Tensor, axes: Sequence[Labels | None], gone: Labels) -> Tensor:
    kept = tensor
    for axis, units in enumerate(axes):
        if units is not None and (here := ~np.isin(units, gone)).sum() < len(units):
            kept = kept.index_select(axis, torch.from_numpy(here.nonzero()[0]).to(tensor.device))
    if kept is tensor:
        return tensor
    return nn.Parameter(kept, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else kept


def mask_error(
    net: SegmentationNet,
    small: SegmentationNet,
    groups: Sequence[ChannelGroup],
    plan: PrunePlan,
    size_hw: tuple[int, int] = TRACE_SIZE_HW,
) -> float:
    """Relative error in float64 between a cut network and the full one with the same channels set to zero.

    Around 1e-15 for a right cut; a wrong channel index gives 1e-2 or more. Only for networks whose activations map
    0 to 0 and whose norms act on each channel by itself.
    """
    whole, twin = (duplicate(one).cpu().double().eval() for one in (net, small))
    image = torch.rand(2, 3, *size_hw, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        with without(whole, groups, [plan]):
            expected = whole.all_logits(image)
        got = twin.all_logits(image)
    scale = max(float(logits.abs().max()) for logits in expected)
    worst = max(float((a - b).abs().max()) for a, b in zip(expected, got, strict=True))
    return worst / max(scale, 1e-300)


@torch.no_grad()
def fit_shapes(net: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Resize every layer of a dense network, in place, to the shapes in the state dict of a cut one.

    Needs no wiring, so that a checkpoint is read without a pass of its network. The values of resized parameters
    are undefined until the state dict is loaded.

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
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = weight[0]
