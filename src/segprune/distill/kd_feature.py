"""Distillation of logits and of feature maps at the channels that a cut network kept."""

from dataclasses import dataclass

from torch import Tensor, nn

from segprune.distill.contract import MapLoss, Seen
from segprune.distill.normalised import logits_and_maps
from segprune.distill.pixels import Ignored, Temperature, Weight


@dataclass(frozen=True, kw_only=True)
class KDFeature(MapLoss):
    """``kd`` on the logits, and the difference of normalised maps, averaged over the places.

    Source: the logits arXiv:1503.02531, the maps arXiv:2207.05256, their use together arXiv:2604.25530. Differs:
        maps are compared at the channels that the student kept, without a learnt convolution in between.

    Attributes:
        weight: Of the logits.
        temperature: Of the logits.
        feature_weight: Of the maps.
        ignored: Whether pixels without a label count.
    """

    weight: Weight
    temperature: Temperature
    feature_weight: Weight
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
        return self.weight * of_logits + self.feature_weight * of_maps
