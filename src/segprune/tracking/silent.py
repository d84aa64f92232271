"""A tracker that tracks nothing, for ``tracking=silent``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segprune.tracking.contract import RunStart, Scalar, Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class SilentTracking:
    """Runs leave their traces in the output folder only."""

    def open(self, start: RunStart, /) -> "SilentRun":
        """A run that takes everything and keeps nothing."""
        del start
        return SilentRun()

    def close_children(self, parent_run_id: str, /) -> int:
        """There are none."""
        del parent_run_id
        return 0

    def end(self, run_id: str, /) -> None:
        """There is none."""
        del run_id

    def discard(self, run_id: str, /) -> None:
        """There is none."""
        del run_id

    def replay(self, folder: Path, /) -> int:
        """Nothing waits for a silent tracker; what waits for another stays."""
        del folder
        return 0


@dataclass(frozen=True)
class SilentRun:
    """Takes everything and keeps nothing."""

    run_id: str = ""
    url_hint: str = ""

    def params(self, values: Mapping[str, Scalar], /) -> None:
        """Nothing."""

    def metrics(self, values: Mapping[str, float], /, *, step: int | None = None) -> None:
        """Nothing."""

    def file(self, path: Path, /, folder: str = "") -> None:
        """Nothing."""

    def text(self, content: str, /, name: str) -> None:
        """Nothing."""

    def figure(self, figure: "Figure", /, name: str) -> None:
        """Nothing."""

    def tags(self, values: Mapping[str, str], /) -> None:
        """Nothing."""

    def note(self, content: str, /) -> None:
        """Nothing."""

    def dataset(self, *, name: str, digest: str, split: str, profile: Mapping[str, Scalar]) -> None:
        """Nothing."""

    def close(self, status: Status, /) -> None:
        """Nothing."""
