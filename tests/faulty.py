"""A criterion that ends its process instead of scoring; named on the command line by the tests of sweeps."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.random import Random


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """Channels chosen by chance, if it comes to that.

    Attributes:
        fault: What happens first.
    """

    fault: Literal["none", "kill"]
    name: ClassVar[str] = "faulty"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "local"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU."""
        if self.fault == "kill":
            signal.raise_signal(signal.SIGKILL)
        return Random()(net, groups, calibration)
