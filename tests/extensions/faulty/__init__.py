"""A criterion that ends its process instead of scoring; named on the command line by the tests of sweeps."""

import os
import resource
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import psutil
import torch

from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.random import Random

MENDED = "FAULTY_IS_MENDED"
"""With this environment variable the same command goes well."""
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """Channels chosen by chance, if it comes to that.

    Attributes:
        fault: What happens first.
    """

    fault: Literal["none", "kill", "memory"]
    name: ClassVar[str] = "faulty"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "local"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU."""
        if self.fault == "kill" and MENDED not in os.environ:
            signal.raise_signal(signal.SIGKILL)
        if self.fault == "memory" and MENDED not in os.environ:
            limit = psutil.Process().memory_info().vms + 256 * MIB
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))  # as a cluster gives it to its jobs
            torch.zeros(1024 * MIB, dtype=torch.uint8)
        return Random()(net, groups, calibration)
