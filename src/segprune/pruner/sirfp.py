"""Channels whose feature maps look like those of others are replaceable."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from segprune.errors import DataError, TrainingError
from segprune.graph.group import ChannelGroup, Member, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.clique import clique_scores
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import checked, map_layers, of_running, refuse_unscored, root_sum
from segprune.pruner.mapped import unmapped
from segprune.pruner.maps import MapStatistics, Similarity, map_statistics
from segprune.pruner.scoring_mode import scoring_mode


@dataclass(frozen=True, kw_only=True)
class Sirfp:
    """Minus the similarity of a channel's maps to those of the channels left, the most similar leaving first.

    Maps are taken behind the batch norms of a group, before the activation; in a group without a norm, behind
    its convolutions. One-pixel maps (image pooling) are left out; where a group has no others, its channels
    are compared by their values over the images. A channel that is 0 everywhere goes first, as similar to
    every other.

    Attributes:
        similarity: ``cosine`` or ``l1``, see ``summed_similarity``.
        self_term: Whether a channel's similarity to itself counts.
        normalize: ``alive`` or ``none``, see ``clique_scores``.
        edge_weight: Times the spatial deviation of the Sobel magnitude is added to the score; above 0 the
            score order is no longer the removal order, by design of the official code.
        edge_layers: Edges count in layers with one of these in their name; in all layers if no name has one.
        pool: Larger maps are averaged down to this side in px, which changes the order of their channels a little.
        join: In a group with several norms: ``mean`` of their similarities, then one removal; or one removal
            for each and the ``max`` of the scores, so that a channel stays if one layer wants to keep it.

    Source: SIRFP, arXiv:2412.12672: its official code (``l1``, self term, ``none``, edges, ``max``), or the greedy
        removal of its Algorithm 1 alone, for which cosine, ``alive`` and ``mean`` are choices made here. Differs
        from the code: a ranking per group instead of one over the backbone and one over the rest; eval mode and a
        plain mean over calibration images instead of a moving average during training; zero channels go first
        (there in the backbone alone: elsewhere they look unique and stay).
    """

    similarity: Similarity
    self_term: bool
    normalize: Literal["alive", "none"]
    edge_weight: NonNegativeFloat
    edge_layers: list[str]
    pool: Annotated[int, Field(ge=2)]
    join: Literal["mean", "max"]
    name: ClassVar[str] = "sirfp"
    needs: ClassVar[Needs] = "feature maps"
    scope: ClassVar[Scope] = "local"

    def unscored(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> dict[str, str]:
        """Groups with channels that are in no feature map -> why."""
        return unmapped(net, groups, image)

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU.

        Raises:
            ConfigError: No calibration batch, or a channel that is in no feature map.
            DataError: One image, and a group whose maps have one pixel.
            TrainingError: A feature map that is not finite.
        """
        calibration.require_batches(self.name)
        refuse_unscored(self.name, self.unscored(net, groups, calibration.batches[0].image[:1]))
        places = {group.name: map_layers(net, group) for group in groups}
        layers = {member.layer: layer for pairs in places.values() for member, layer in pairs}
        with scoring_mode(net, calibration.device, trainable=()):
            maps = map_statistics(
                net,
                layers,
                calibration.batches,
                similarity=self.similarity,
                pool=self.pool,
                with_edge=self.edge_weight > 0,
            )
        has_edges = {name for name in layers if any(part in name for part in self.edge_layers)} or set(layers)
        return checked(
            {
                group.name: self._score(
                    group, _usable(group, [m for m, _ in places[group.name]], maps), has_edges
                )
                for group in groups
            }
        )

    def _score(
        self, group: ChannelGroup, views: Sequence[tuple[Member, MapStatistics]], has_edges: Set[str]
    ) -> Tensor:
        """(C,) float64 from the views that the layers of a group give of its channels."""
        masks = torch.stack([alive_mask(member, maps, group.size) for member, maps in views])  # (L, C)
        matrices = torch.stack([root_similarity(member, maps, group.size) for member, maps in views])
        edges = torch.stack(
            [root_sum(maps.edge, member, group.size) * (member.layer in has_edges) for member, maps in views]
        )
        if self.join == "mean":
            matrices = mean_over_views(matrices, masks)[None]  # (1, C, C)
            edges = (edges * masks).sum(0, keepdim=True) / masks.sum(0).clamp_min(1)
            masks = masks.any(0, keepdim=True)
        dead = ~masks.any(0)
        scores = [self._greedy(matrix, dead) for matrix in matrices]
        total = torch.stack(scores) + self.edge_weight * edges  # (L, C)
        return total.masked_fill(~(masks | dead), -torch.inf).amax(0)

    def _greedy(self, similarity: Tensor, dead: Tensor) -> Tensor:
        """(C, C) similarities, (C,) bool -> (C,) scores; dead channels are similar to all."""
        matrix = similarity.masked_fill(dead[:, None] | dead, 1.0)
        return torch.from_numpy(
            clique_scores(matrix.numpy(), self_term=self.self_term, normalize=self.normalize)
        )


def alive_mask(member: Member, maps: MapStatistics, size: int) -> Tensor:
    """(C,) bool: which channels of the group the layer carries with a map that is not 0 everywhere."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[member.root[maps.alive[member.own]]] = True
    return mask


def root_similarity(member: Member, maps: MapStatistics, size: int) -> Tensor:
    """(C, C) float64: similarities of one layer at the group's channels; 0 where it has no living channel.

    A channel at several positions of the layer has the mean of their similarities.
    """
    alive = maps.alive[member.own]
    own, root = member.own[alive], member.root[alive]
    sums = torch.zeros(size, size, dtype=torch.float64)
    sums.index_put_((root[:, None], root), maps.similarity[own][:, own], accumulate=True)
    count = torch.bincount(root, minlength=size).clamp_min(1)
    return sums / (count[:, None] * count)


def mean_over_views(matrices: Tensor, masks: Tensor) -> Tensor:
    """(L, C, C) similarities and (L, C) masks -> (C, C) means over the layers in which both channels live."""
    both = (masks[:, :, None] & masks[:, None]).sum(0)
    return matrices.sum(0) / both.clamp_min(1)


def _usable(
    group: ChannelGroup, members: Sequence[Member], maps: Mapping[str, MapStatistics]
) -> list[tuple[Member, MapStatistics]]:
    """The members that ran, those with maps of more than one pixel if there are any."""
    ran = of_running(group, members, maps)
    for member, found in ran:
        if not found.similarity.isfinite().all():
            raise TrainingError(
                f"layer {member.layer}: its feature maps are not finite. Train the network with a "
                "lower learning rate."
            )
    usable = [(member, found) for member, found in ran if found.is_spatial] or ran
    if not usable[0][1].is_spatial and usable[0][1].images < 2:
        raise DataError(
            f"group {group.name}: the maps of {usable[0][0].layer} have one pixel and calibration holds 1 "
            "image, so its channels cannot be compared. Raise the number of calibration images to 2 or more."
        )
    return usable
