"""The sum of cross-entropy and Dice loss."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import PositiveFloat
from torch import Tensor

from segprune.loss.ce import CrossEntropy
from segprune.loss.dice import Dice


@dataclass(frozen=True, kw_only=True)
class CrossEntropyAndDice:
    """Cross-entropy plus a multiple of the Dice loss; both use the class weights.

    Source: nnU-Net, arXiv:1904.08128, with a multiple of 1.

    Attributes:
        dice: The multiple.
    """

    name: ClassVar[str] = "ce_dice"
    dice: PositiveFloat

    def __call__(self, logits: Tensor, label: Tensor, *, ignore_index: int, weights: Tensor | None) -> Tensor:
        """See ``Loss``."""
        entropy = CrossEntropy()(logits, label, ignore_index=ignore_index, weights=weights)
        return entropy + self.dice * Dice()(logits, label, ignore_index=ignore_index, weights=weights)
