"""What a stage says of its trainings before it does them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segprune.schedule.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class PlannedTraining:
    """A training that a stage will do.

    Attributes:
        word: Of the stored result that it is a part of.
        key: Of its schedule.
        schedule: How it trains.
        about: What tells it from other trainings that start from the same network, as plain values.
        times: How often it is done, as between rounds.
        effort: Time of its steps, in that of plain steps of the dense network.
    """

    word: str
    key: str
    schedule: Schedule
    about: Mapping[str, Any]
    times: int = 1
    effort: float = 1.0

    @property
    def epochs(self) -> int:
        """Passes over the training images, all times together."""
        return self.times * self.schedule.epochs
