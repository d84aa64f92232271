"""How much a pixel counts in a loss."""

import torch
from torch import Tensor


def pixel_weights(label: Tensor, *, ignore_index: int, weights: Tensor | None) -> Tensor:
    """(N, H, W) int64 labels -> (N, H, W) float32: the weight of the pixel's class, 0 where it is ignored.

    Args:
        label: Classes 0..K-1, or the ignore index.
        ignore_index: Label of pixels that do not count.
        weights: (K,) float32 by class; None: all 1.
    """
    is_labelled = label != ignore_index
    if weights is None:
        return is_labelled.float()
    return weights[torch.where(is_labelled, label, 0)] * is_labelled


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of (N, H, W) values by weights of that shape, of which one is larger than 0 -> scalar."""
    return (values * weights).sum() / weights.sum()
