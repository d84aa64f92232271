"""L1 norm of the filters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import checked, filter_scores, mean_one


@dataclass(frozen=True, kw_only=True)
class L1:
    """Sum of the absolute weights of the filter that makes the channel; biases and norms do not count.

    Attributes:
        normalize: ``none``: raw sums, to rank within groups; ``mean``: divided by the group's mean, to rank
            over all groups.

    Source: PFEC, arXiv:1608.08710, the norm of single filters. Differs: a channel made by several filters (a
        residual stream) gets their mean (``coupled_mean``), which is a choice made here.
    """

    normalize: Literal["none", "mean"]
    name: ClassVar[str] = "l1"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "local"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU.

        Raises:
            ConfigError: A channel that no convolution makes.
            TrainingError: A weight that is not finite.
        """
        del calibration
        scores = {}
        for group in groups:
            score = filter_scores(net, group, lambda filters: filters.abs().sum(1))
            scores[group.name] = mean_one(score) if self.normalize == "mean" else score
        return checked(scores)
