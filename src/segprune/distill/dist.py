"""DIST: the student keeps the order and the proportions of the teacher's probabilities, not their exact values."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segprune.distill.contract import Loss, Seen
from segprune.distill.pixels import Ignored, Temperature, Weight, counted, mean_of

CONSTANT = 1e-13
"""Variance of probabilities below which they are equal: what float32 leaves of equal numbers is smaller."""


@dataclass(frozen=True, kw_only=True)
class DIST(Loss):
    """1 - correlation of the probabilities: over the classes of each pixel, and over the pixels of each class.

    Source: arXiv:2205.10536. See docs/distillation/dist.md for what differs.

    Attributes:
        inter: Weight of the correlation over the classes.
        intra: Weight of the correlation over the pixels.
        temperature: Divides the logits.
        ignored: Whether pixels without a label count.
    """

    inter: Weight
    intra: Weight
    temperature: Temperature
    ignored: Ignored

    def __call__(
        self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
    ) -> Tensor:
        """The loss of a batch."""
        del parts
        mask = counted(label, like=student.logits, ignore_index=ignore_index, ignored=self.ignored)
        between, within = relations(student.logits, teacher.logits, mask, temperature=self.temperature)
        return self.inter * between + self.intra * within


def relations(student: Tensor, teacher: Tensor, mask: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """The means of 1 - correlation, over the classes of each pixel and over the pixels of each class.

    Both are in [0, 2] times ``temperature`` squared, and 0 for equal probabilities. Probabilities that are all
    equal have no correlation: they count as 0 and pull nowhere.

    Args:
        student: (N, K, h, w) logits of any floating type; computed in float32.
        teacher: Likewise.
        mask: (N, h, w) bool: the pixels that count.
        temperature: Divides the logits.
    """
    ours, theirs = (_probabilities(logits, temperature) for logits in (student, teacher.detach()))
    counts = mask.reshape(-1, 1).float()
    between = mean_of(_distance(ours, theirs, torch.ones_like(ours[:1]), 1), mask.flatten())
    return temperature**2 * between, temperature**2 * _distance(ours, theirs, counts, 0).mean()


def _probabilities(logits: Tensor, temperature: float) -> Tensor:
    """(N, K, h, w) -> (N h w, K)."""
    return (logits.float() / temperature).softmax(1).movedim(1, -1).flatten(0, -2)


def _distance(one: Tensor, other: Tensor, counts: Tensor, dim: int) -> Tensor:
    """1 - the weighted Pearson correlation along an axis; 0 where one of both is constant."""
    number = counts.sum(dim, keepdim=True).clamp(min=1)
    one, other = (x - (x * counts).sum(dim, keepdim=True) / number for x in (one, other))
    together = (one * other * counts).sum(dim, keepdim=True) / number
    variances = [(x.square() * counts).sum(dim, keepdim=True) / number for x in (one, other)]
    varies = (variances[0] > CONSTANT) & (variances[1] > CONSTANT)
    both = torch.where(varies, variances[0] * variances[1], 1.0).sqrt()
    return torch.where(varies, 1 - together / both, 0.0).squeeze(dim)
