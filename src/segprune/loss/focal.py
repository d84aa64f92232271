"""Focal loss: cross-entropy that counts pixels less the surer the network is of them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from segprune.loss.pixels import pixel_weights, weighted_mean

_LEAST = 1e-8  # of 1 - p: for a focus below 1, its power has no finite slope at 0


@dataclass(frozen=True, kw_only=True)
class Focal:
    """``(1 - p) ** focus`` times the cross-entropy, p the probability of the true class; mean by class weight.

    Source: Focal Loss, arXiv:1708.02002, there called gamma and for one sigmoid per class. Differs: softmax over
    the classes; class weights stand for alpha; the mean is over the labelled pixels, as in cross-entropy, which it
    is with a focus of 0.

    Attributes:
        focus: 0: plain cross-entropy.
    """

    name: ClassVar[str] = "focal"
    focus: Annotated[float, Field(ge=0, le=10)]

    def __call__(self, logits: Tensor, label: Tensor, *, ignore_index: int, weights: Tensor | None) -> Tensor:
        """See ``Loss``."""
        entropy = F.cross_entropy(
            logits, label, ignore_index=ignore_index, reduction="none"
        )  # 0 where ignored
        unsure = (-torch.expm1(-entropy)).clamp_min(_LEAST)
        counts = pixel_weights(label, ignore_index=ignore_index, weights=weights)
        return weighted_mean(unsure**self.focus * entropy, counts)
