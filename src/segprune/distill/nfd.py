"""Normalised feature distillation: maps are compared by their pattern, not by their mean and scale."""

from dataclasses import dataclass

from torch import Tensor, nn

from segprune.distill.contract import MapLoss, Seen
from segprune.distill.normalised import logits_and_maps
from segprune.distill.pixels import Ignored, Temperature, Weight


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
        of_logits, of_maps = logits_and_maps(
            student,
            teacher,
            label,
            ignore_index=ignore_index,
            ignored=self.ignored,
            temperature=self.temperature,
        )
        return self.kd_weight * of_logits + self.weight * of_maps
