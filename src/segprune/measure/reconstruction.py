"""How far a network's outputs are from those of the network it was cut from."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Outputs against those of a reference network, over all scored pixels of a split.

    Attributes:
        logit_mse: Mean over pixels and classes of the squared difference of the logits.
        argmax_agreement: Fraction of pixels with the same class, whether it is right or not.
    """

    logit_mse: float
    argmax_agreement: float


def reconstruction_sums(logits: Tensor, reference: Tensor, same: Tensor, scored: Tensor) -> Tensor:
    """What one image adds to the reconstruction; add the sums up over a split.

    Args:
        logits: (K, h, w) float.
        reference: (K, h, w) float.
        same: (h, w) bool, whether the largest of both is of the same class.
        scored: (h, w) bool; other pixels do not count.

    Returns:
        (3,) float64 where the logits are: squared differences, averaged over the classes; pixels of the same class;
        pixels. Counts are exact up to 2^53.
    """
    squared = (logits - reference).square().mean(dim=0)  # (h, w)
    return torch.stack(
        [
            torch.where(scored, squared, 0.0).double().sum(),
            (same & scored).sum().double(),
            scored.sum().double(),
        ]
    )


def reconstruction(sums: Tensor) -> Reconstruction:
    """The reconstruction of the summed (3,) sums of a split with at least one scored pixel."""
    squared, same, pixels = sums.tolist()
    return Reconstruction(logit_mse=squared / pixels, argmax_agreement=same / pixels)
