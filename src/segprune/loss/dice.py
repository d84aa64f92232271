"""Dice loss: how far the predicted area of every class overlaps the labelled one."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dice:
    """One minus the mean Dice coefficient of the classes that occur in the batch, by class weight.

    The coefficient of a class is ``2 * sum(p * y) / (sum(p) + sum(y))`` over the labelled pixels of the whole
    batch, p its softmax probability and y 1 where it is labelled, else 0.

    Source: V-Net, arXiv:1606.04797. Differs: no squares in the denominator, as in most code since; several classes.
    segmentation_models_pytorch's gives the same where all classes occur; it divides by the number of all classes,
    so that there a batch costs less the fewer classes it shows.
    """

    name: ClassVar[str] = "dice"

    def __call__(self, logits: Tensor, label: Tensor, *, ignore_index: int, weights: Tensor | None) -> Tensor:
        """See ``Loss``."""
        is_labelled = (label != ignore_index)[:, None]
        probability = logits.softmax(dim=1) * is_labelled  # (N, K, H, W)
        classes = torch.arange(logits.shape[1], device=label.device).view(1, -1, 1, 1)
        is_class = (label[:, None] == classes) & is_labelled
        labelled = is_class.sum(dim=(0, 2, 3))  # (K,)
        overlap = (probability * is_class).sum(dim=(0, 2, 3))
        area = probability.sum(dim=(0, 2, 3)) + labelled
        occurs = (labelled > 0).float()
        counts = occurs if weights is None else occurs * weights
        # the area of a class that does not occur may be 0
        return 1 - (counts * 2 * overlap / area.clamp_min(1e-12)).sum() / counts.sum()
