"""One MLflow run, as the rest of the program logs to it."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from segprune.errors import TrackingError
from segprune.tracking.contract import Scalar, Status
from segprune.tracking.record import (
    DIGEST_CHARACTERS,
    NOTE_TAG,
    Record,
    metric_records,
    param_records,
    spell,
    tag_records,
)
from segprune.tracking.secrets import redacted
from segprune.tracking.sender import Sender

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(kw_only=True)
class MlflowRun:
    """An open run, see ``contract.Tracker``.

    Attributes:
        run_id: The run's id in MLflow; empty if it began while MLflow was out.
        url_hint: One line that tells how to see this run.
        sender: Takes the records.
    """

    run_id: str
    url_hint: str
    sender: Sender
    _is_closed: bool = field(default=False, init=False)

    def params(self, values: Mapping[str, Scalar], /) -> None:
        """Log what was configured; a value that differs from an earlier one is refused by MLflow."""
        self.sender.put(param_records(values))

    def metrics(self, values: Mapping[str, float], /, *, step: int | None = None) -> None:
        """Log numbers; they are on disk at once and sent with others."""
        self.sender.put(metric_records(values, 0 if step is None else step), can_wait=True)

    def file(self, path: Path, /, folder: str = "") -> None:
        """Copy a file into the artifacts.

        Raises:
            TrackingError: There is no such file, or ``folder`` is not a relative path.
        """
        if not path.is_file() or not os.access(path, os.R_OK):
            raise TrackingError(
                f"{path} is not a file that can be read, so it cannot be an artifact; write it first"
            )
        _require_relative(folder)
        content = {"path": self.sender.journal.keep(path.resolve()), "folder": folder}
        self.sender.put([Record(kind="artifact", content=content)])

    def text(self, content: str, /, name: str) -> None:
        """Write a text artifact in UTF-8, without the passwords of URLs."""
        self._made(name, lambda path: path.write_text(redacted(content), encoding="utf-8"))

    def figure(self, figure: "Figure", /, name: str) -> None:
        """Draw a figure into an artifact."""
        self._made(name, lambda path: figure.savefig(path, bbox_inches="tight"))

    def tags(self, values: Mapping[str, str], /) -> None:
        """Set or replace tags."""
        self.sender.put(tag_records(values))

    def note(self, content: str, /) -> None:
        """Set or replace the run's description."""
        self.tags({NOTE_TAG: content})

    def dataset(self, *, name: str, digest: str, split: str, profile: Mapping[str, Scalar]) -> None:
        """Say which data was used and as what."""
        spelled = {key: spell(value) for key, value in profile.items()}
        content = {
            "name": redacted(name),
            "digest": digest[:DIGEST_CHARACTERS],
            "split": split,
            "profile": spelled,
        }
        self.sender.put([Record(kind="dataset", content=content)])

    def close(self, status: Status, /) -> None:
        """Send what is still buffered, even if MLflow was out a moment ago, and end the run."""
        if self._is_closed:
            return
        self._is_closed = True
        self.sender.finish(Record(kind="end", content={"status": status, "time_ms": int(time.time() * 1000)}))

    def _made(self, name: str, make: Callable[[Path], object]) -> None:
        _require_relative(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, Path(name).name)
            make(path)
            parent = Path(name).parent.as_posix()
            self.file(path, "" if parent == "." else parent)


def _require_relative(name: str) -> None:
    """Refuse a place outside the run's artifacts."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise TrackingError(f"artifact {name!r} is outside the run; give a relative path without '..'")
