"""Which channels of the dense network a cut one kept: a copy whose weights are channel numbers is cut as well."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from segprune.distill.places import Side, Spot
from segprune.graph.layers import Conv, is_depthwise
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate
from segprune.transform.contract import Transform
from segprune.transform.cut import Cut


def kept(
    dense: SegmentationNet, transforms: Sequence[Transform], where: Sequence[Spot]
) -> Mapping[str, Tensor] | None:
    """Layer -> (C,) int64, the dense network's numbers of the channels that are left there, on all of the side.

    However many cuts there were, each in the channels that the one before had left: they are done again on a copy
    whose weights say which channel they belong to.

    Args:
        dense: The network before all transforms; left as it was.
        transforms: What made the other network of it.
        where: At most one side of each layer.

    Returns:
        None where a transform is no cut: it may have made channels that the dense network does not have.
    """
    if not all(isinstance(made_by, Cut) for made_by in transforms):
        return None
    net = duplicate(dense).cpu()
    for spot in where:
        _number(net.get_submodule(spot.layer), spot.side)
    for made_by in transforms:
        net = made_by.replay(net)
    return {spot.layer: _numbers(net.get_submodule(spot.layer), spot.side) for spot in where}


def width_of(layer: nn.Module, side: Side) -> int:
    """How many channels a convolution or norm reads or makes."""
    tensor, axis = _numbered(layer, side)
    return tensor.shape[axis] * (layer.groups if isinstance(layer, Conv) and _is_grouped(layer, axis) else 1)


@torch.no_grad()
def _number(layer: nn.Module, side: Side) -> None:
    tensor, axis = _numbered(layer, side)
    numbers = torch.arange(tensor.shape[axis], dtype=tensor.dtype)
    tensor.copy_(numbers.view(-1, *[1] * (tensor.ndim - axis - 1)).expand_as(tensor))


def _numbers(layer: nn.Module, side: Side) -> Tensor:
    tensor, axis = _numbered(layer, side)
    if isinstance(layer, Conv) and _is_grouped(layer, axis):  # never cut, and has no entry for each channel
        return torch.arange(width_of(layer, side))
    return tensor.detach().transpose(0, axis).reshape(tensor.shape[axis], -1)[:, 0].long()


def _numbered(layer: nn.Module, side: Side) -> tuple[Tensor, int]:
    """The tensor of a layer that has an entry for each channel of a side, and the axis of the channels."""
    if isinstance(layer, Conv):
        flips = layer.transposed and not is_depthwise(layer)
        return layer.weight, int(not is_depthwise(layer) and (side == "in") != flips)
    if isinstance(layer.weight, Tensor):
        return layer.weight, 0
    return layer.get_buffer("running_mean"), 0  # a norm without a scale


def _is_grouped(layer: Conv, axis: int) -> bool:
    return axis == 1 and layer.groups > 1
