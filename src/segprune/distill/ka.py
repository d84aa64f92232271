"""Knowledge adaptation: the student meets the teacher's feature in the code of an auto-encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from segprune.distill.affinity import affinity, deepest, unit
from segprune.distill.coder import ENCODER, Coding, adapter, encoder, first_look, train_coder
from segprune.distill.contract import Look, MapLoss, Seen, Shapes
from segprune.distill.pixels import Ignored, Weight, counted, mean_of
from segprune.training.step import Training

PLACE = "place"


class Adapters(nn.Module):
    """Two adapters of the student's map, and the frozen encoder of the teacher's.

    Args:
        shapes: Of both networks, with what ``KA.prepare`` learned.
        stride: Of the encoder.
    """

    def __init__(self, shapes: Shapes, stride: int) -> None:
        super().__init__()
        self.place = list(shapes.places)[int(shapes.learned[PLACE])]
        weights = {
            name.removeprefix(ENCODER): value
            for name, value in shapes.learned.items()
            if name.startswith(ENCODER)
        }
        code, channels = weights["0.weight"].shape[:2]
        self.encoder = encoder(channels, code, stride)
        self.encoder.load_state_dict(weights)
        self.encoder.requires_grad_(requires_grad=False)
        student = shapes.places[self.place].student
        self.feature, self.relation = (adapter(student, code, stride) for _ in range(2))
        self.train()

    def train(self, mode: bool = True) -> "Adapters":  # noqa: FBT001, FBT002 - the signature of nn.Module
        """As ``nn.Module.train``; the encoder stays as it is."""
        super().train(mode)
        self.encoder.eval()
        return self


@dataclass(frozen=True, kw_only=True)
class KA(MapLoss):
    """Distance of the adapted feature from the teacher's code, and of the affinities of their positions.

    Source: He et al., "Knowledge Adaptation for Efficient Semantic Segmentation", arXiv:1903.04688. See
        docs/distillation/ka.md for what differs.

    Attributes:
        adapt_weight: Of the distance of the features.
        affinity_weight: Of the distance of the affinities.
        coding: The auto-encoder.
        ignored: Whether pixels without a label count.
    """

    matched: ClassVar[bool] = False
    prepares: ClassVar[bool] = True
    adapt_weight: Weight
    affinity_weight: Weight
    coding: Coding
    ignored: Ignored

    def prepare(self, look: Look, training: Training) -> Mapping[str, Tensor]:
        """The encoder of the teacher's deepest map, and which map that is."""
        features = first_look(look, training)
        place = deepest(features)
        net = train_coder(look, training, place, features[place].shape[1], self.coding)
        weights = {f"{ENCODER}{name}": value for name, value in net.encoder.state_dict().items()}
        return {PLACE: torch.tensor(list(features).index(place)), **weights}

    def parts(self, shapes: Shapes) -> nn.Module:
        """The adapters."""
        return Adapters(shapes, self.coding.stride)

    def __call__(
        self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
    ) -> Tensor:
        """The loss of a batch."""
        parts = cast("Adapters", parts)
        ours, theirs = student.features[parts.place], teacher.features[parts.place]
        code = parts.encoder(theirs)
        mask = counted(label, like=code, ignore_index=ignore_index, ignored=self.ignored)
        features = adapt_loss(parts.feature(ours), code, mask)
        relations = affinity_loss(parts.relation(ours), code, mask)
        return self.adapt_weight * features + self.affinity_weight * relations


def adapt_loss(student: Tensor, code: Tensor, mask: Tensor) -> Tensor:
    """Mean over positions of the L1 distance of the two features, each of length 1.

    In [0, 2 sqrt(C)]; whatever scales either feature at a position changes nothing.

    Source: arXiv:1903.04688, eq. 2 with p = 1 and q = 2.

    Args:
        student: (N, C, H, W), the adapted feature, of any floating type; computed in float32.
        code: (N, C, H, W), the teacher's, encoded.
        mask: (N, H, W) bool: the positions that count.
    """
    return mean_of((unit(student) - unit(code.detach())).abs().sum(1), mask)


def affinity_loss(student: Tensor, code: Tensor, mask: Tensor) -> Tensor:
    """How differently positions relate to the others: mean over positions of the length of the affinities' change.

    By the root of the number of positions, so that it is in [0, 2] whatever the crop.

    Source: arXiv:1903.04688, eq. 4.

    Args:
        student: (N, C, H, W), the adapted feature, of any floating type; computed in float32.
        code: (N, C', H, W), the teacher's, encoded.
        mask: (N, H, W) bool: the positions that count.
    """
    change = affinity(student) - affinity(code.detach())  # (N, P, P)
    counts = mask.flatten(1)
    number = counts.sum(1, keepdim=True).clamp(min=1)
    lengths = torch.linalg.vector_norm(change * counts.unsqueeze(1), dim=2) * number.rsqrt()
    return mean_of(lengths, counts)
