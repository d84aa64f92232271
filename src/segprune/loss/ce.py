"""Cross-entropy."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class CrossEntropy:
    """Minus the logarithm of the probability of the true class, mean over the labelled pixels by class weight."""

    name: ClassVar[str] = "ce"

    def __call__(self, logits: Tensor, label: Tensor, *, ignore_index: int, weights: Tensor | None) -> Tensor:
        """See ``Loss``."""
        return F.cross_entropy(logits, label, weight=weights, ignore_index=ignore_index)
