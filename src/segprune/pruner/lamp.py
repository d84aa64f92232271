"""Norm of a filter relative to those of the filters that would be removed later."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import checked, filter_scores


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """Squared filter norm divided by the sum of those that are at least as large in the group.

    The best channel of every group scores 1, so a global ranking never empties a group. Scores of wide groups
    are small, about one over their size, so wide groups are cut first.

    Source: LAMP, arXiv:2010.07611. Differs: the paper scores single weights; here the squared norm of the whole
        filter takes the place of a squared weight. A channel made by several filters (a residual stream) has
        the mean of their squared norms (``coupled_mean``), which is a choice made here.
    """

    name: ClassVar[str] = "lamp"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "global"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, in [0, 1].

        Raises:
            ConfigError: A channel that no convolution makes.
            TrainingError: A weight that is not finite.
        """
        del calibration
        squared_norms = {
            group.name: filter_scores(net, group, lambda filters: filters.square().sum(1)) for group in groups
        }
        return checked({name: lamp_scores(values) for name, values in squared_norms.items()})


def lamp_scores(squared_norms: Tensor) -> Tensor:
    """(C,) float64, not negative -> (C,) each divided by the sum from itself up; all 0 stays 0.

    Of equal channels the first one counts as the smaller.
    """
    order = torch.argsort(squared_norms, stable=True)
    ascending = squared_norms[order]
    survivors = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squared_norms)
    scores[order] = ascending / torch.where(survivors == 0, 1.0, survivors)
    return scores
