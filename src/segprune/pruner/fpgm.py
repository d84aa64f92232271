"""Filters near the geometric median of their layer are replaceable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import checked, mean_one, producers, root_filters

CLOSE = 1e-6
"""Squared distance over squared norms below which the matrix product has lost too many digits."""


@dataclass(frozen=True, kw_only=True)
class Fpgm:
    """Sum of the Euclidean distances from a channel's filter to the filters of all other channels.

    Attributes:
        norm_mix: Fraction of the channels set aside first, those of smallest L2 norm: they get the lowest
            scores and take no part in the distances of the rest. 0: distances only.
        normalize: ``none``: raw sums, to rank within groups; ``mean``: divided by their mean, to rank over
            all groups.

    Source: FPGM, arXiv:1811.00250, equations 4 to 7; ``norm_mix`` is the mix of its official code.
        Differs: in a group that several layers make (a residual stream) a channel is the joint vector of its
        filters, so squared distances add up over the layers; the paper cuts no such channel.
    """

    norm_mix: Annotated[float, Field(ge=0, lt=1)]
    normalize: Literal["none", "mean"]
    name: ClassVar[str] = "fpgm"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "local"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU; negative for the channels set aside.

        Raises:
            ConfigError: A channel that no convolution makes.
            TrainingError: A weight that is not finite.
        """
        del calibration
        scores = {}
        for group in groups:
            filters = [root_filters(layer, member, group.size) for member, layer in producers(net, group)]
            scores[group.name] = fpgm_scores(
                torch.cat(filters, dim=1), norm_mix=self.norm_mix, normalize=self.normalize
            )
        return checked(scores)


def fpgm_scores(filters: Tensor, *, norm_mix: float, normalize: Literal["none", "mean"]) -> Tensor:
    """(C, D) float64 filters -> (C,) float64 scores; see ``Fpgm`` for the options."""
    aside, rest = _split_by_norm(filters, norm_mix)
    scores = filters.new_empty(len(filters))
    sums = distance_sums(filters[rest])
    scores[rest] = mean_one(sums) if normalize == "mean" else sums
    # -1 and less, in the order of their norms: below every sum of distances
    norms = filters[aside].norm(dim=1)
    scores[aside] = norms - norms.max() - 1 if len(aside) else norms
    return scores


def distance_sums(filters: Tensor) -> Tensor:
    """(C, D) float64 -> (C,) sums of the Euclidean distances to all rows, exact for near duplicates too."""
    centred = filters - filters.mean(
        dim=0
    )  # distances stay the same, and the product below loses fewer digits
    square = centred.square().sum(1)  # (C,)
    sums = filters.new_empty(len(filters))
    rows_per_chunk = max(1, 2**22 // max(1, len(filters)))  # 32 MiB per chunk
    for start in range(0, len(filters), rows_per_chunk):
        rows = slice(start, start + rows_per_chunk)
        scale = square[rows, None] + square  # (R, C)
        squared = (scale - 2 * centred[rows] @ centred.T).clamp_min(0)
        for row in (squared < CLOSE * scale).any(1).nonzero().flatten().tolist():
            close = (squared[row] < CLOSE * scale[row]).nonzero().flatten()
            squared[row, close] = (centred[close] - centred[start + row]).square().sum(1)
        sums[rows] = squared.sqrt().sum(1)
    return sums


def _split_by_norm(filters: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Indices of the int(fraction * C) rows of smallest norm (of equal ones the first), and of the others."""
    count = int(fraction * len(filters) + 1e-9)  # 0.29 * 100 is a little below 29
    order = torch.argsort(filters.norm(dim=1), stable=True)
    return order[:count], order[count:]
