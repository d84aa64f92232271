"""The control: channels chosen by chance."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope


@dataclass(frozen=True, kw_only=True)
class Random:
    """Uniform numbers in [0, 1), one per channel; every group draws from its own stream.

    The stream depends on the calibration's seed and the group's name alone, so the scores of a group do not
    change with the order or number of the others.
    """

    name: ClassVar[str] = "random"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "local"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU."""
        del net
        return {
            group.name: torch.rand(
                group.size, dtype=torch.float64, generator=_generator(calibration.seed, group.name)
            )
            for group in groups
        }


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
