"""How alike the features at every two positions of an image are."""

from collections.abc import Mapping

import torch
from torch import Tensor

ZERO = 1e-12
"""Squared length below which a vector has no direction: it stays as it is, and so does its gradient."""


def deepest(features: Mapping[str, Tensor]) -> str:
    """The place with the fewest positions, where all pairs of them can be compared; the last of equals."""
    return min(reversed(list(features)), key=lambda place: features[place].shape[-2:].numel())


def unit(vectors: Tensor, dim: int = 1) -> Tensor:
    """The vectors along an axis, each of length 1, in float32; those of length 0 stay 0."""
    vectors = vectors.float()
    squared = vectors.square().sum(dim, keepdim=True)
    return vectors * torch.where(squared > ZERO, squared, 1.0).rsqrt()


def affinity(maps: Tensor) -> Tensor:
    """(N, C, ...) -> (N, P, P) float32: the cosine of the features at every two of the P positions of an image."""
    rows = unit(maps.flatten(2))
    with torch.autocast(maps.device.type, enabled=False):  # a product in half precision has three digits
        return rows.transpose(1, 2) @ rows
