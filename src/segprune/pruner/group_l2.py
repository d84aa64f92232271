"""Squared norm of all weights that are removed with a channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from segprune.graph.group import ChannelGroup, Member, Scores
from segprune.graph.layers import Conv, is_depthwise
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import (
    ConvTranspose,
    checked,
    filter_rows,
    mean_one,
    root_sum,
)


@dataclass(frozen=True, kw_only=True)
class GroupL2:
    """Sum of the squares of all weights that are removed with the channel.

    Those are the filters that make the channel, those that rescale it (squeeze-and-excitation), depthwise ones that
    pass it on, the scales of its norms, its PReLU slopes, and the weights that read it, also those of auxiliary
    heads. Biases and shifts do not count. A layer that reads the channels it makes counts on both sides.

    Attributes:
        normalize: ``mean``: divided by the group's mean, to rank over all groups; ``none``: raw sums, which grow
            with the number of coupled weights, so the ranking is within groups.

    Source: DepGraph, arXiv:2301.12900, the group norm as its official code computes it. Differs: training has no
        group penalty; scores are relative to the mean of all channels of the group, in the paper to the mean
        of the N best.
    """

    normalize: Literal["mean", "none"]
    name: ClassVar[str] = "group_l2"
    needs: ClassVar[Needs] = "weights"

    @property
    def scope(self) -> Scope:
        """Over all groups where scores are relative to their group, else within."""
        return "global" if self.normalize == "mean" else "local"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, not negative.

        Raises:
            TrainingError: A weight that is not finite.
        """
        del calibration
        scores = {}
        for group in groups:
            score = torch.zeros(group.size, dtype=torch.float64)
            for member in group.members:
                squares = _squares(member, net.get_submodule(member.layer))
                score += root_sum(squares, member, group.size)
            scores[group.name] = mean_one(score) if self.normalize == "mean" else score
        return checked(scores)


def _squares(member: Member, layer: nn.Module) -> Tensor:
    """(C_layer,) float64 CPU: summed squares of the weights at every position of one side of a layer."""
    if isinstance(layer, nn.modules.batchnorm._NormBase) and not layer.affine:
        return torch.zeros(layer.num_features, dtype=torch.float64)
    weight = layer.get_parameter("weight").detach()
    if isinstance(layer, Conv | nn.Linear) and member.axis == "in":
        if is_depthwise(layer):  # the same filters as on its other side
            return torch.zeros(weight.shape[0], dtype=torch.float64)
        rows = weight
        if not isinstance(layer, ConvTranspose):
            groups = layer.groups if isinstance(layer, Conv) else 1
            # (C_out, C_in / groups, ...) -> (C_in, C_out / groups, ...)
            rows = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
        return rows.cpu().double().flatten(1).square().sum(1)
    return filter_rows(layer, weight).square().sum(1)
