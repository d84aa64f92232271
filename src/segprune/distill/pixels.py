"""Which pixels count."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

Ignored = Literal["taught", "left_out"]
"""Whether pixels without a label are taught too, as in the official codes, or left out."""
Weight = Annotated[float, Field(ge=0)]
Temperature = Annotated[float, Field(gt=0)]


def counted(label: Tensor, *, like: Tensor, ignore_index: int, ignored: Ignored) -> Tensor:
    """(N, h, w) bool: the pixels of a map that count.

    Each pixel of a map that is smaller than the label has the label nearest to its centre.

    Args:
        label: (N, H, W) int64.
        like: (N, C, h, w), the map.
        ignore_index: Label of pixels that are not labelled.
        ignored: Whether they count.
    """
    if ignored == "taught":
        return like.new_ones(like.shape[0], *like.shape[-2:], dtype=torch.bool)
    nearest = F.interpolate(label[:, None].double(), size=like.shape[-2:], mode="nearest-exact")[:, 0]
    return nearest != ignore_index


def mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the values that count, a scalar; 0 without any."""
    mask = mask.expand_as(values)
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
