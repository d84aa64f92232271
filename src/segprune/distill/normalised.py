"""The difference of feature maps whatever their scale and offset."""

import torch
from torch import Tensor
from torch.nn import functional as F

from segprune.distill.contract import Seen
from segprune.distill.kd import divergence
from segprune.distill.pixels import Ignored, counted

EPSILON = 1e-5
"""Added to the variance, as in a batch norm, so that a constant map stays finite."""


def normalised_difference(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean squared difference of maps that are normalised per image and channel, a scalar.

    For maps with a spatial correlation rho it is 2 (1 - rho) per channel, but for ``EPSILON``.

    Source: Normalized Feature Distillation, arXiv:2207.05256. Differs: codes of others divide by a standard
        deviation without an epsilon, which is nan for a constant map.

    Args:
        student: (N, C, h, w) float32; maps of one pixel do not differ.
        teacher: Likewise.
        mask: (N, h, w) bool, the pixels that count; None: all. An image without any gives 0.
    """
    if mask is None:
        return F.mse_loss(_normalised(student), _normalised(teacher))
    inside = mask[:, None]
    squared = (_within(student, inside) - _within(teacher, inside)) ** 2
    per_channel = torch.where(inside, squared, 0.0).sum((2, 3)) / inside.sum((2, 3)).clamp(min=1)
    return per_channel.mean()


def logits_and_maps(
    student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, ignored: Ignored, temperature: float
) -> tuple[Tensor, Tensor]:
    """Plain distillation of the logits, and the mean over the places of the difference of normalised maps: scalars.

    Args:
        student: With gradients.
        teacher: Without.
        label: (N, H', W') int64.
        ignore_index: Label of pixels that are not labelled.
        ignored: Whether those count.
        temperature: Of the logits.
    """

    def mask(like: Tensor) -> Tensor:
        return counted(label, like=like, ignore_index=ignore_index, ignored=ignored)

    of_logits = divergence(student.logits, teacher.logits, mask(student.logits), temperature=temperature)
    all_count = ignored == "taught"  # for which there is a faster way
    of_maps = [
        normalised_difference(ours, teacher.features[place], None if all_count else mask(ours))
        for place, ours in student.features.items()
    ]
    return of_logits, torch.stack(of_maps).mean()


def _normalised(maps: Tensor) -> Tensor:
    return F.instance_norm(maps, eps=EPSILON) if maps[0, 0].numel() > 1 else 0 * maps


def _within(maps: Tensor, inside: Tensor) -> Tensor:
    """The maps, normalised by mean and variance of the pixels that count."""
    count = inside.sum((2, 3), keepdim=True).clamp(min=1)
    mean = torch.where(inside, maps, 0.0).sum((2, 3), keepdim=True) / count
    centred = torch.where(inside, maps - mean, 0.0)
    return centred * torch.rsqrt(centred.square().sum((2, 3), keepdim=True) / count + EPSILON)
