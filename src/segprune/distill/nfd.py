"""Normalised feature distillation: maps are compared by their pattern, not by their mean and scale."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segprune.distill.contract import MapLoss, Seen
from segprune.distill.kd import divergence
from segprune.distill.normalised import normalised_difference
from segprune.distill.pixels import Ignored, Temperature, Weight, counted


@dataclass(frozen=True, kw_only=True)
class NFD(MapLoss):
    """Normalised maps at the end of every stage, and plain distillation of the logits beside them.

    Source: arXiv:2207.05256; no code was released. See docs/distillation/nfd.md for what differs.

    Attributes:
        weight: Of the maps; the mean over the places.
        kd_weight: Of the logits.
        temperature: Of the logits.
        ignored: Whether pixels without a label count.
    """

    weight: Weight
    kd_weight: Weight
    temperature: Temperature
    ignored: Ignored

    def __call__(
        self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
    ) -> Tensor:
        """The loss of a batch."""
        del parts

        def mask(maps: Tensor) -> Tensor:
            return counted(label, like=maps, ignore_index=ignore_index, ignored=self.ignored)

        of_logits = divergence(
            student.logits, teacher.logits, mask(student.logits), temperature=self.temperature
        )
        of_maps = [
            normalised_difference(ours, teacher.features[place], mask(ours))
            for place, ours in student.features.items()
        ]
        return self.kd_weight * of_logits + self.weight * torch.stack(of_maps).mean()
