"""What a part of the bench is given, and what it gives back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How much is measured, and where.

    Attributes:
        folder: An empty place for files.
        is_quick: Whether sizes are cut down, so that all parts together take minutes.
        rounds: Turns of each comparison; None: as many as the part takes for enough.
    """

    folder: Path
    is_quick: bool
    rounds: int | None = None

    def size(self, usual: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.is_quick else usual

    def turns(self, usual: int, quick: int) -> int:
        """How many turns a comparison has."""
        return self.rounds or self.size(usual, quick)

    @property
    def cache(self) -> Path:
        """Where drawn images are kept for all parts."""
        return self.folder.parent / "cache"

    @property
    def outputs(self) -> Path:
        """The output folder of commands, one for all parts, since the first command makes MLflow's tables in it."""
        return self.folder.parent / "outputs"

    def place(self, name: str) -> Path:
        """A folder of its own, made if missing."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number.

    Attributes:
        what: Of what.
        value: The median.
        unit: Its unit: ``s``, ``CPU s`` (processor time of all threads and child processes), ``x`` (a ratio),
            ``exponent``, ...
        sizes: Of what it was measured on.
        low: The lowest measurement; None: there was one.
        high: The highest.
        count: Measurements.
        goal: What it should not exceed; None: nothing was asked.
    """

    what: str
    value: float
    unit: str
    sizes: str
    low: float | None = None
    high: float | None = None
    count: int = 1
    goal: float | None = None


Measure = Callable[[Bench], Iterator[Figure]]
"""A part of the bench."""
