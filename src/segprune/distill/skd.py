"""Structured knowledge distillation: pixels, pairs of places and, if asked for, whole maps."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from segprune.distill.affinity import affinity, deepest
from segprune.distill.contract import MapLoss, Seen, Shapes
from segprune.distill.holistic import Critic
from segprune.distill.kd import divergence
from segprune.distill.pixels import Ignored, Weight, counted, mean_of

Pool = Literal["average", "max"]


@dataclass(frozen=True, kw_only=True)
class SKD(MapLoss):
    """KL divergence of each pixel, cosines of pairs of places, and a critic of whole maps.

    Source: Liu et al., "Structured Knowledge Distillation for Semantic Segmentation", arXiv:1903.04197. See
        docs/distillation/skd.md for what differs.

    Attributes:
        pixel_weight: Of the pixels.
        pair_weight: Of the pairs.
        node_px: Height and width, in positions of the deepest map, of the patches that make the nodes of pairs.
        pool: How the positions of a node become one: their ``average`` or their ``max``.
        holistic_weight: Of the critic's opinion; 0: there is no critic.
        critic_lr: Learning rate of the critic.
        critic_penalty: Weight of its gradient penalty.
        ignored: Whether pixels without a label count; the critic always sees whole maps.
    """

    matched: ClassVar[bool] = False
    pixel_weight: Weight
    pair_weight: Weight
    node_px: tuple[PositiveInt, PositiveInt]
    pool: Pool
    holistic_weight: Weight
    critic_lr: PositiveFloat
    critic_penalty: Weight
    ignored: Ignored

    def parts(self, shapes: Shapes) -> nn.Module:
        """The critic, where there is one."""
        if self.holistic_weight == 0:
            return nn.Module()
        return Critic(shapes.classes, lr=self.critic_lr, penalty=self.critic_penalty)

    def __call__(
        self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
    ) -> Tensor:
        """The loss of a batch; the critic, where there is one, learns from it by itself."""

        def mask(maps: Tensor) -> Tensor:
            return counted(label, like=maps, ignore_index=ignore_index, ignored=self.ignored)

        place = deepest(student.features)
        ours, theirs = student.features[place], teacher.features[place]
        pixels = divergence(student.logits, teacher.logits, mask(student.logits), temperature=1.0)
        pairs = pair_loss(ours, theirs, mask(ours), node_px=self.node_px, pool=self.pool)
        total = self.pixel_weight * pixels + self.pair_weight * pairs
        if isinstance(parts, Critic):
            parts.learn(
                student.logits, teacher.logits
            )  # before: a later change would spoil the student's gradient
            total = total - self.holistic_weight * parts(student.logits).mean()
        return total


def pair_loss(
    student: Tensor, teacher: Tensor, mask: Tensor, *, node_px: tuple[int, int], pool: Pool
) -> Tensor:
    """Mean squared difference of the cosines of every two nodes of an image; a node is a patch of positions.

    In [0, 4]; the channels of the two need not be the same ones, nor as many. A mean over images and pairs.

    Source: arXiv:1903.04197, eq. 2, with every node connected to all.

    Args:
        student: (N, C, H, W) features of any floating type; computed in float32.
        teacher: (N, C', H, W).
        mask: (N, H, W) bool: the positions that count; a node counts if one of its positions does.
        node_px: Height and width of a node in positions.
        pool: How the positions of a node become one.
    """
    ours, theirs = (affinity(_nodes(maps, mask, node_px, pool)) for maps in (student, teacher.detach()))
    counts = (F.avg_pool2d(mask.float().unsqueeze(1), node_px, ceil_mode=True) > 0).flatten(1)
    return mean_of((ours - theirs).square(), counts.unsqueeze(1) & counts.unsqueeze(2))


def _nodes(maps: Tensor, mask: Tensor, node_px: tuple[int, int], pool: Pool) -> Tensor:
    """(N, C, H, W) -> (N, C, rows, columns) float32; patches at the end may be smaller."""
    maps, counts = maps.float(), mask.unsqueeze(1)
    if pool == "max":
        lowest = torch.finfo(torch.float32).min
        nodes = F.max_pool2d(torch.where(counts, maps, lowest), node_px, ceil_mode=True)
        return torch.where(nodes > lowest, nodes, 0.0)
    share = F.avg_pool2d(counts.float(), node_px, ceil_mode=True)
    nodes = F.avg_pool2d(torch.where(counts, maps, 0.0), node_px, ceil_mode=True)
    return nodes / torch.where(share > 0, share, 1.0)
