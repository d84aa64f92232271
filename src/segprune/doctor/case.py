"""A data set under examination: its keys as they are mended, and what was found."""

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segprune.doctor.contract import Problem

Node = dict[str, Any]
_VARYING = re.compile(r"\S*/\S*|\[[^\]]*\]|\d+")
"""What differs between faults of one kind: paths, lists and numbers."""


class Case:
    """What was found so far.

    Attributes:
        node: The keys of ``dataset`` as given, and as mended where they cannot stay so.
        problems: In the order in which they were found.
        notes: What is no mistake, but good to know.
        folder: Where tables of pairs are written.
        other: What to ask the doctor instead, where the folders are those of another data set that is shipped.
    """

    def __init__(self, node: Mapping[str, Any], folder: Path) -> None:
        """Nothing was found yet.

        Args:
            node: The keys of ``dataset``; those that are missing are left out.
            folder: Where a table of pairs is written if one is needed.
        """
        self.node: Node = dict(node)
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.folder = folder
        self.other = ""

    @property
    def keys(self) -> Node:
        """All keys that solve problems, with their last values."""
        return {key: value for problem in self.problems for key, value in problem.keys.items()}

    @property
    def remedy(self) -> str:
        """What to do where some problem is solved by no key."""
        if self.other:
            return f"The folders are those of another data set:\n\n{self.other}"
        return "No key solves what has none above: mend the files, then ask the doctor again."

    def add(self, text: str, **keys: Any) -> None:
        """A problem; what is looked at later is looked at with the keys that solve it."""
        self.problems.append(Problem(text=text, keys=keys))
        self.node |= keys

    def take(self, problems: Sequence[Problem]) -> None:
        """Several of them."""
        for problem in problems:
            self.add(problem.text, **problem.keys)

    def written(self, text: str) -> str:
        """The path of a new file with a table of pairs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"pairs-{len(list(self.folder.glob('pairs-*.csv')))}.csv"
        path.write_text(text, encoding="utf-8")
        return str(path.absolute())


def several(endings: Any) -> tuple[str, ...]:
    """One ending, or more."""
    return (endings,) if isinstance(endings, str) else tuple(endings or ())


def folded(faults: Sequence[str]) -> list[str]:
    """The first fault of each kind, with the number of files that have the same one."""
    kinds: dict[str, list[str]] = {}
    for fault in faults:
        kinds.setdefault(_VARYING.sub("", fault), []).append(fault)
    return [
        alike[0] + (f"\n   and {len(alike) - 1} more alike" if len(alike) > 1 else "")
        for alike in kinds.values()
    ]


def unusable(count: int, what: str) -> str:
    """That so many files or pairs cannot be used."""
    return f"1 {what} is not usable" if count == 1 else f"{count} {what}s are not usable"


class _Kept(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self._notes.append(record.getMessage())


@contextlib.contextmanager
def silent(notes: list[str] | None = None) -> Iterator[None]:
    """The log lines of loading are those of a run; its warnings go to ``notes``."""
    logger = logging.getLogger("segprune.dataset")
    before, handler = (logger.level, logger.propagate), _Kept([] if notes is None else notes)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
