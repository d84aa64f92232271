"""Keeps on disk what could not be sent, in ``<run folder>/tracking_spool``.

``<run id>.jsonl`` holds a header line and one record a line; ``<run id>/`` holds copies of the artifacts that
wait; ``<run id>.refused.jsonl`` what the store will never take, for people to read. A run that the store has not
created yet has its key (``unsent-...``) for an id.
"""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segprune.tracking.record import Record
from segprune.tracking.secrets import redacted

FOLDER = "tracking_spool"


@dataclass(frozen=True, kw_only=True)
class Spool:
    """The spool of one run.

    Attributes:
        folder: The run's output folder.
        run_id: Whose records these are: the run's id, or its key, see ``creation``.
        uri: Of the store that has the run, without credentials.
    """

    folder: Path
    run_id: str
    uri: str

    @property
    def path(self) -> Path:
        """The file of waiting records."""
        return self.folder / FOLDER / f"{self.run_id}.jsonl"

    @property
    def _copies(self) -> Path:
        return self.path.with_suffix("")

    def keep(self, records: Sequence[Record]) -> list[Record]:
        """Replace what is kept by these records.

        Returns:
            The records, those of artifacts now pointing at copies in the spool.

        Raises:
            OSError: The disk refuses; what was kept before is still there.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [self._sheltered(record) for record in records]
        lines = [{"run_id": self.run_id, "uri": self.uri}, *map(self._line, kept)]
        partial = self.path.with_suffix(".partial")
        partial.write_text(_text(lines), encoding="utf-8")
        os.replace(partial, self.path)
        return kept

    def append(self, records: Sequence[Record]) -> list[Record]:
        """Keep these records too; returns and raises as ``keep``, which has been called before."""
        kept = [self._sheltered(record) for record in records]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_text(map(self._line, kept)))
        return kept

    def load(self) -> list[Record]:
        """What is kept; nothing kept is an empty list, and a line that a crash cut short is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()[1:]
        return [self._record(line) for line in map(_parsed, lines) if line is not None]

    def clear(self) -> None:
        """Forget what was kept: it has been sent."""
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self._copies, ignore_errors=True)
        if self.path.parent.exists() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def refuse(self, record: Record, reason: str) -> None:
        """Put aside what the store will never take, with its reason."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = {"reason": redacted(reason), "kind": record.kind, **record.content}
        with self.path.with_suffix(".refused.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _line(self, record: Record) -> dict[str, Any]:
        line = {"kind": record.kind, **record.content}
        if record.kind == "artifact":  # relative: the output folder may be moved before it is replayed
            line["path"] = str(Path(line["path"]).relative_to(self.path.parent))
        return line

    def _record(self, line: dict[str, Any]) -> Record:
        kind = line.pop("kind")
        if kind == "artifact":
            line["path"] = str(self.path.parent / line["path"])
        return Record(kind=kind, content=line)

    def _sheltered(self, record: Record) -> Record:
        if record.kind != "artifact" or Path(record.content["path"]).is_relative_to(self._copies):
            return record
        source = Path(record.content["path"])
        # A folder per copy: an artifact keeps its file name, and two may share one.
        self._copies.mkdir(exist_ok=True)
        target = self._copies / str(len(list(self._copies.iterdir()))) / source.name
        target.parent.mkdir()
        shutil.copyfile(source, target)
        return replace(record, content={**record.content, "path": str(target)})


def spools(folder: Path) -> list[Spool]:
    """The spools that wait in an output folder."""
    paths = sorted((folder / FOLDER).glob("*.jsonl"))
    waiting = [path for path in paths if not path.name.endswith(".refused.jsonl")]
    return [Spool(folder=folder, **_header(path)) for path in waiting]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        parsed: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return parsed


def _text(lines: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def _header(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as file:
        first: dict[str, Any] = json.loads(file.readline())
    return first
