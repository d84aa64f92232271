"""What a pruning criterion gives to the rest of the program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from segprune.dataset.contract import Batch
from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet

Scope = Literal["local", "global"]
Needs = Literal["weights", "gradients", "feature maps"]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The labelled training data a criterion may look at; the same for every method.

    Attributes:
        batches: Fixed, seeded batches of the training split, on ``device``.
        loss: (network, batch) -> scalar training loss: cross-entropy, mean over valid pixels, auxiliary heads
            included as in training.
        device: Where the network and the batches are.
        seed: For criteria that draw numbers; they make their own generator from it.
    """

    batches: Sequence[Batch]
    loss: Callable[[SegmentationNet, Batch], Tensor]
    device: torch.device
    seed: int


class Pruner(Protocol):
    """A criterion: one score per channel of every group; higher = keep.

    A call leaves weights, buffers, gradients, train/eval flags, hooks and the global RNG as they were.
    """

    @property
    def name(self) -> str:
        """The word on the command line."""

    @property
    def needs(self) -> Needs:
        """What the scores are computed from."""

    @property
    def scope(self) -> Scope:
        """Where the paper ranks: within each group (local) or over all groups (global)."""

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, finite; higher = keep."""
