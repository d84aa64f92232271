"""Cross-entropy of the hard pixels only."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from segprune.loss.pixels import pixel_weights, weighted_mean

_ROUNDING = 1e-9  # 0.1 of 30 pixels are 3, although 0.1 * 30 is larger


@dataclass(frozen=True, kw_only=True)
class HardPixels:
    """Cross-entropy, mean by class weight over the pixels whose true class has at most a certain probability.

    Of each batch at least a certain fraction of the labelled pixels counts, the hardest ones; of equally hard ones
    all or none.

    Source: online hard example mining, arXiv:1604.03540, there of regions. The rule for pixels, with a probability
    and a least number, is that of common segmentation code; here the least number is a fraction.

    Attributes:
        threshold: Most probability of the true class of a hard pixel; 1: all pixels are.
        least: Fraction of the labelled pixels of a batch that count in any case.
    """

    name: ClassVar[str] = "ohem"
    threshold: Annotated[float, Field(gt=0, le=1)]
    least: Annotated[float, Field(gt=0, le=1)]

    def __call__(self, logits: Tensor, label: Tensor, *, ignore_index: int, weights: Tensor | None) -> Tensor:
        """See ``Loss``."""
        entropy = F.cross_entropy(logits, label, ignore_index=ignore_index, reduction="none")
        counts = pixel_weights(label, ignore_index=ignore_index, weights=weights)
        is_labelled = label != ignore_index
        hardness = torch.where(is_labelled, entropy.detach(), -1.0)
        return weighted_mean(entropy, counts * (hardness >= self._bound(hardness, is_labelled)))

    def _bound(self, hardness: Tensor, is_labelled: Tensor) -> Tensor:
        """(1,) least cross-entropy of the pixels that count; found on the device."""
        least = (self.least * is_labelled.sum().double() - _ROUNDING).ceil().long()
        falling = hardness.flatten().sort(descending=True).values
        return falling.gather(0, (least - 1)[None]).clamp_max(-math.log(self.threshold)).clamp_min(0.0)
