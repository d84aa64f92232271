"""Overhaul of feature distillation: features before the ReLU, as far as they matter behind it."""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from segprune.distill.affinity import deepest
from segprune.distill.contract import MapLoss, Maps, Place, Seen, Shapes
from segprune.distill.pixels import Ignored, Weight, counted

RARE = 1e-3
"""Share of negative values below which their mean is not taken from the formula; so in the official code."""


class Margins(nn.Module):
    """The margins of the channels at each place, as buffers; a place without a batch norm has none."""

    def __init__(self, places: dict[str, Place]) -> None:
        super().__init__()
        self.names = {place: f"margin_{index}" for index, place in enumerate(places)}
        for place, name in self.names.items():
            scale, shift = places[place].scale, places[place].shift
            found = None if scale is None or shift is None else margin(scale, shift)
            self.register_buffer(name, found, persistent=False)

    def of(self, place: str, teacher: Tensor) -> Tensor:
        """(C,): from the batch norm, else from the teacher's maps of this batch, (N, C, H, W)."""
        found: Tensor | None = getattr(self, self.names[place])
        return measured_margin(teacher) if found is None else found


@dataclass(frozen=True, kw_only=True)
class OFD(MapLoss):
    """Partial squared difference of the maps before the ReLU at the end of every stage, negative ones at a margin.

    **A sum** over channels and positions, as in paper and code: its weight is that of a crop size.

    Source: Heo et al., "A Comprehensive Overhaul of Feature Distillation", arXiv:1904.01866. See
        docs/distillation/ofd.md for what differs.

    Attributes:
        weight: Of the sum over places, each by how many times finer than the deepest one it is along a side.
        ignored: Whether pixels without a label count.
    """

    maps: ClassVar[Maps] = "before_relu"
    weight: Weight
    ignored: Ignored

    def parts(self, shapes: Shapes) -> nn.Module:
        """The margins, frozen."""
        return Margins(dict(shapes.places))

    def __call__(
        self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
    ) -> Tensor:
        """The loss of a batch."""
        parts = cast("Margins", parts)
        fewest = student.features[deepest(student.features)].shape[-2:].numel()
        total = student.logits.new_zeros(())
        for place, ours in student.features.items():
            theirs = teacher.features[place]
            mask = counted(label, like=ours, ignore_index=ignore_index, ignored=self.ignored)
            finer = math.sqrt(ours.shape[-2:].numel() / fewest)
            total = total + ofd_loss(ours, theirs, parts.of(place, theirs), mask) / finer
        return self.weight * total


def margin(scale: Tensor, shift: Tensor) -> Tensor:
    """The mean of the negative values behind a batch norm, (C,) -> (C,) float32.

    With values drawn from a normal distribution with mean ``shift`` and standard deviation ``|scale|``; -3
    ``|scale|`` where fewer than ``RARE`` of them are negative. A channel with scale 0 always gives its shift, so
    its margin is that if negative, else 0.

    Source: arXiv:1904.01866, section 3.2; the official code divides by the scale and so fails where it is 0.

    Args:
        scale: Weight of the batch norm.
        shift: Its bias.
    """
    deviation, shift = scale.detach().abs().float(), shift.detach().float()
    is_fixed = deviation == 0
    z = shift / torch.where(is_fixed, 1.0, deviation)
    log_density = -z.square() / 2 - math.log(2 * math.pi) / 2
    log_share = torch.special.log_ndtr(-z)  # of negative values
    mean = shift - deviation * (log_density - log_share).exp()
    found = torch.where(log_share > math.log(RARE), mean, -3 * deviation)
    return torch.where(is_fixed, shift.clamp_max(0), found)


def measured_margin(maps: Tensor) -> Tensor:
    """The mean of the negative values of each channel, (N, C, H, W) -> (C,) float32; 0 where there are none."""
    below = maps.detach().float().clamp_max(0)
    return below.sum((0, 2, 3)) / (below < 0).sum((0, 2, 3)).clamp(min=1)


def ofd_loss(student: Tensor, teacher: Tensor, margins: Tensor, mask: Tensor) -> Tensor:
    """Sum over channels and positions of the partial squared difference, by the number of images.

    The teacher's values below the margin are raised to it. Where the result is not positive, a student below it
    pays nothing, since the ReLU hides both.

    Source: arXiv:1904.01866, eq. 4 and 5.

    Args:
        student: (N, C, H, W) before the ReLU, of any floating type; computed in float32.
        teacher: Likewise, of the same channels.
        margins: (C,), see ``margin``.
        mask: (N, H, W) bool: the positions that count.
    """
    ours = student.float()
    theirs = torch.maximum(teacher.detach().float(), margins.view(1, -1, 1, 1))
    counts = ((ours > theirs) | (theirs > 0)) & mask.unsqueeze(1)
    return torch.where(counts, (ours - theirs).square(), 0.0).sum() / len(ours)
