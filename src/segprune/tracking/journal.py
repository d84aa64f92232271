"""Keeps on disk all that a run logs until MLflow has it, in ``<run folder>/tracking_journal``.

``<name>.jsonl`` is a header, then one record a line in the order of logging, and after each answer of MLflow a
line that says how many records more it has. ``<name>/`` holds copies of the artifacts that wait;
``<name>.refused.jsonl`` holds records that MLflow refuses for good, for people to read. The name is the run's id
in MLflow, or the key of its creation, see ``creation``.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from segprune import durable
from segprune.errors import TrackingError
from segprune.tracking.record import Record
from segprune.tracking.secrets import redacted

LOG = logging.getLogger(__name__)
FOLDER = "tracking_journal"
FOLDERS = (FOLDER, "tracking_spool")
"""The second is that of earlier versions, which wrote only what an outage left."""


class Journal:
    """The journal of one run; while it is open, no other process can open it.

    A full or failing disk stops nothing: records that it did not take stay in memory and are written with the next
    one.

    Attributes:
        path: The file.
        uri: Of MLflow that has the run, or will have it, without credentials.
        run_id: The run's id in MLflow; empty until it is known.
        waiting: The records that MLflow does not have yet, in order.
        last_kind: Of record, that an earlier process left; empty in a new journal.
        last_ms: When that process wrote last, in ms since 1970.
    """

    def __init__(self, path: Path, uri: str = "") -> None:
        """Begin it, or take over what an earlier process left in it.

        Raises:
            TrackingError: That process lives, or another one is sending it.
            OSError: It cannot be read or written.
        """
        self.path, self.uri, self.run_id = path, uri, ""
        self.waiting: list[Record] = []
        self.last_kind, self.last_ms = "", 0
        self._copies, self._lock = (
            path.with_suffix(""),
            durable.Lock(path.with_suffix(".lock"), thread_local=False),
        )
        self._size, self._unwritten, self._is_refused = 0, "", False
        if path.exists():
            self._load()
        if not self._size:
            self._unwritten = _line({"run_id": path.stem, "uri": uri})

    def add(self, records: Sequence[Record]) -> None:
        """Write records; what is written outlives the process."""
        self._write(*({"kind": record.kind, "content": record.content} for record in records))
        self.waiting += records

    def keep(self, source: Path) -> str:
        """Copy a file; gives the copy's path from the journal's folder, or the file's if the disk refuses."""
        # A folder per copy: an artifact keeps its file name, and two may share one.
        target = self._copies / str(time.time_ns()) / source.name
        with self._telling():
            target.parent.mkdir(parents=True)
            shutil.copyfile(source, target)
            durable.sync(target)
            return str(target.relative_to(self.path.parent))
        shutil.rmtree(target.parent, ignore_errors=True)  # half a copy would take the room of records
        return str(source)

    def sync(self) -> None:
        """Wait until all that is written outlives a power cut."""
        with self._telling():
            durable.sync(self.path)

    def sent(self, count: int) -> None:
        """Note that MLflow has so many records more.

        A process that dies before this is written has them sent again, which changes nothing in MLflow.
        """
        self.waiting = self.waiting[count:]
        self._write({"kind": "sent", "count": count, "run_id": self.run_id})
        if not self.waiting:
            shutil.rmtree(self._copies, ignore_errors=True)

    def refuse(self, records: Sequence[Record], reason: str) -> None:
        """Put aside what MLflow will never take, with its reason."""
        with self._telling(), self.path.with_suffix(".refused.jsonl").open("a", encoding="utf-8") as file:
            for record in records:
                file.write(
                    _line({"reason": redacted(reason), "kind": record.kind, "content": record.content})
                )

    def close(self) -> None:
        """Let go of it; when MLflow has all, nothing stays on disk but what it refused."""
        if not self.waiting:
            with suppress(OSError):  # a disk may refuse even that, and another journal may be in the folder
                self.path.unlink(missing_ok=True)
                self.path.with_suffix(".lock").unlink(missing_ok=True)
                self.path.parent.rmdir()
        elif self._unwritten:
            LOG.error("Tracking records of %s are lost: neither the disk nor MLflow takes them.", self.path)
        self._lock.release()

    def _load(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise TrackingError(f"{self.path} is in use by another process; wait for its end") from error
        if not self.path.exists():
            return  # another process has just sent it
        self.last_ms, lines = int(self.path.stat().st_mtime * 1000), self.path.read_bytes()
        with suppress(ValueError):  # a power cut may leave anything where the last lines should be
            for line in lines[: lines.rfind(b"\n") + 1].splitlines(keepends=True):
                self._take(json.loads(line))
                self._size += len(line)

    def _take(self, line: dict[str, Any]) -> None:
        kind = line.pop("kind", None)
        if kind is None:
            self.uri = line["uri"]
        elif kind == "sent":
            self.waiting, self.run_id = self.waiting[line["count"] :], line["run_id"]
        else:  # earlier versions wrote the content without its name
            self.waiting.append(Record(kind=kind, content=line.get("content", line)))
            self.last_kind = kind

    def _write(self, *lines: Mapping[str, Any]) -> None:
        self._unwritten += "".join(map(_line, lines))
        written = self._unwritten.encode()
        with self._telling():
            if not self._lock.is_locked:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(timeout=0)
            with self.path.open("ab") as file:
                file.truncate(self._size)  # half a line, of a full disk or of a process that was killed
                file.write(written)
            self._size, self._unwritten, self._is_refused = self._size + len(written), "", False

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell once that the disk refuses, and go on behind the block."""
        try:
            yield
        except OSError as error:
            if not self._is_refused:
                LOG.warning("Tracking records are kept in memory only, not in %s: %s", self.path, error)
            self._is_refused = True


def journals(folder: Path) -> list[Path]:
    """The journals in or below a folder."""
    found = [path for path in folder.rglob("*.jsonl") if path.parent.name in FOLDERS]
    return sorted(path for path in found if not path.name.endswith(".refused.jsonl"))


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values) + "\n"
