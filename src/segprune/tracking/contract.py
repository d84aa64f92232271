"""What a tracker gives to the rest of the program: runs that take numbers, texts and files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scalar = str | int | float | bool | None
Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """How a run is opened.

    Attributes:
        name: Shown in the runs table, e.g. ``sirfp-r0.3``.
        kind: ``job``, one chain; ``sweep``, the parent of the jobs of one multirun.
        folder: The run's own output folder; what is logged is kept below it until MLflow has it.
        tags: Free tags, e.g. ``{"fingerprint": ...}``.
        note: Markdown, the run's description; the headline first, since the page hides the rest at first.
        color: ``#rrggbb`` of the run in tables and charts, see ``tracking.color``; ``None``: MLflow picks.
        parent_run_id: The sweep this job belongs to.
        run_id: Continue this run instead of creating one, e.g. after a restart.
    """

    name: str
    kind: Literal["job", "sweep"]
    folder: Path
    tags: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    color: str | None = None
    parent_run_id: str | None = None
    run_id: str | None = None


class Tracker(Protocol):
    """One open run.

    What is logged is on disk before a call returns, so neither an outage nor a kill loses it. An outage never stops
    the caller. Only names that MLflow would refuse, and files that are not there, raise ``TrackingError``.
    """

    @property
    def run_id(self) -> str:
        """The run's id; empty when nothing is tracked, or MLflow was out when the run began."""

    @property
    def url_hint(self) -> str:
        """One line that tells how to see this run; empty when ``run_id`` was unknown at the start."""

    def params(self, values: Mapping[str, Scalar], /) -> None:
        """Log what was configured; values are spelled as in YAML and cut after 6000 characters."""

    def metrics(self, values: Mapping[str, float], /, *, step: int | None = None) -> None:
        """Log numbers, to be sent with others. NaN and infinity are sent as they are; no ``step`` means step 0."""

    def file(self, path: Path, /, folder: str = "") -> None:
        """Copy a file into the run's artifacts, below ``folder``. The caller may delete it afterwards."""

    def text(self, content: str, /, name: str) -> None:
        """Write a text artifact at the relative path ``name``, e.g. ``eval/metrics.json``."""

    def figure(self, figure: "Figure", /, name: str) -> None:
        """Draw a figure into the artifact ``name``; its suffix is the format, e.g. ``eval/confusion.png``."""

    def tags(self, values: Mapping[str, str], /) -> None:
        """Set or replace tags."""

    def note(self, content: str, /) -> None:
        """Set or replace the run's description: Markdown, the headline first, cut after 8000 characters."""

    def dataset(self, *, name: str, digest: str, split: str, profile: Mapping[str, Scalar]) -> None:
        """Log which data was used and for what; it shows in the Dataset column.

        Args:
            name: The dataset's short name.
            digest: Hex digest of its content; the first 8 digits are shown.
            split: What it was used for, e.g. ``train``.
            profile: Facts to show with it, e.g. the number of items and classes.
        """

    def close(self, status: Status, /) -> None:
        """Send what is still buffered and end the run. A second call does nothing."""


class Tracking(Protocol):
    """Where runs are tracked."""

    def open(self, start: RunStart, /) -> Tracker:
        """Open a run.

        A job of a sweep, whose parent was opened there, begins also while MLflow is out.

        Raises:
            TrackingError: MLflow cannot be reached (only without ``parent_run_id``) or refuses the caller.
        """

    def close_children(self, parent_run_id: str, /) -> int:
        """End the sweep's children that still count as running as KILLED; call it when no job is alive.

        A failure of MLflow is logged, never raised.

        Returns:
            How many there were; 0 if MLflow failed.
        """

    def end(self, run_id: str, /) -> None:
        """End as KILLED a run that still counts as running since its process died.

        A failure of MLflow is logged, never raised.
        """

    def discard(self, run_id: str, /) -> None:
        """Delete a run without results, e.g. a sweep whose command was wrong; it can be restored.

        A failure of MLflow is logged, never raised.
        """

    def replay(self, folder: Path, /) -> int:
        """Send what earlier runs in or below this output folder could not, and end those whose process died.

        A failure of MLflow is logged, never raised.

        Returns:
            How many records still wait.
        """
