"""What the running jobs of a sweep are doing: a line for each at the bottom of a terminal, nothing elsewhere."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Never

from tqdm import tqdm

REFRESH_SECONDS = 1.0
_TAIL_BYTES = 4096
_SAID = re.compile(r"^\d\d:\d\d:\d\d (\S.*)$", re.MULTILINE)
"""A line of a job's log, without its time; tables and traces have none."""


class Board:
    """The lines of the jobs that are running now."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._due = clock, 0.0
        self._jobs: dict[str, tuple[Path, float, tqdm[Never]]] = {}

    def add(self, label: str, output: Path) -> None:
        """Give a job a line.

        Args:
            label: Its name for people.
            output: Where its process writes what it says.
        """
        line = tqdm(bar_format="{desc}", leave=False, disable=None)  # None: only on a terminal
        self._jobs[label] = (output, self._clock(), line)

    def refresh(self) -> None:
        """Show what each job said last; to be called often, it does so once a second."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + REFRESH_SECONDS
        width = shutil.get_terminal_size().columns - 1
        for label, (output, started, line) in self._jobs.items():
            if not line.disable:
                said = f"{label}  {tqdm.format_interval(now - started)}  {last_said(output) or 'starting'}"
                line.set_description_str(said[:width])

    def remove(self, label: str) -> None:
        """Take a job's line away, if it has one."""
        if label in self._jobs:
            _, _, line = self._jobs.pop(label)
            line.close()


def last_said(output: Path) -> str:
    """The last line of a job's log; empty if there is none yet."""
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return " ".join((_SAID.findall(text) or [""])[-1].split())
