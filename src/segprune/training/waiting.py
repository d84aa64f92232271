"""How long a training waits for its images, and what makes it wait less."""

from collections.abc import Iterable, Iterator
from time import perf_counter

from segprune.dataset.contract import Batch, SegData

_MUCH = 0.2
_LEAST_S = 20.0
"""Of shorter trainings, starting the processes that load is most of it."""


class Waits:
    """Passes batches on and counts the time.

    Attributes:
        waited_s: Seconds until batches were there.
        whole_s: Seconds in all, with what was done with them.
    """

    def __init__(self) -> None:
        """Nothing was waited for yet."""
        self.waited_s = self.whole_s = 0.0

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; a GPU computes meanwhile, so that what is counted is only what it cannot hide."""
        started = asked = perf_counter()
        for batch in batches:
            self.waited_s += perf_counter() - asked
            yield batch
            asked = perf_counter()
        self.whole_s += perf_counter() - started

    def told(self, data: SegData, workers: int) -> str | None:
        """One sentence with the remedy if loading holds the training up; None if it does not."""
        if self.whole_s < _LEAST_S or self.waited_s < _MUCH * self.whole_s:
            return None
        more = {
            "often": "raise dataset.cache_mb until all images stay in memory, store them as JPEG, or raise ",
            "once": "they are in memory after the first epoch, so it is augmenting that takes time: raise ",
            "none": "raise ",
        }
        return (
            f"{self.waited_s / self.whole_s:.0%} of the training's time went into waiting for images: "
            f"{more[data.decoding]}workers ({workers} now) if cores are idle"
        )
