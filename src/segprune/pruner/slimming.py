"""Network Slimming: sparse training, then the scales that are left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.sparse import SparseTraining, trained_scales


@dataclass(frozen=True, kw_only=True)
class Slimming:
    """Absolute scale of the batch norms after sparse training, raw.

    Source: Network Slimming, arXiv:1708.06519. Differs: see ``SparseTraining``; a channel with several norms (a
        residual stream) gets their mean, where the paper cuts no such channel; the number of channels is exact,
        where the official codes cut at a percentile with ``<=`` or ``<``.

    Attributes:
        phase: The sparse training.
    """

    name: ClassVar[str] = "slimming"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "global"
    phase: SparseTraining

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, not negative.

        Raises:
            ConfigError: The network did not go through the phase, or has channels without a scale.
            TrainingError: A scale that is not finite.
        """
        return trained_scales(net, groups, calibration, self.name)
