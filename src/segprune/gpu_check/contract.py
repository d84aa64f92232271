"""What a rule of the check is given, and what it says."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where the rules are checked.

    Attributes:
        device: The GPU; the same code runs on a CPU.
        folder: For what the rules write.
        is_small: Whether the work is cut down to seconds, for a machine without a GPU.
        ends_at: When all rules must be done, by ``time.monotonic``.
    """

    device: torch.device
    folder: Path
    is_small: bool
    ends_at: float = math.inf

    def size(self, whole: int, small: int) -> int:
        """How much of something."""
        return small if self.is_small else whole

    def left_s(self) -> float:
        """Seconds that are left; not below 0."""
        return max(0.0, self.ends_at - time.monotonic())


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a rule measured.

    Attributes:
        measured: In words, with units.
        holds: Whether the rule holds.
    """

    measured: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        number: From 1.
        says: What has to hold.
        check: Measures it.
        needs_gpu: Whether it says nothing on a CPU.
    """

    number: int
    says: str
    check: Callable[[Bench], Found]
    needs_gpu: bool = False
