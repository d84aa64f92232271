"""What whole commands take, alone or in short slices by turns."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from segprune.bench.spent import Spent
from segprune.errors import SegpruneError

SLICE_S = 2.0
"""Long beside what going on costs, short beside what changes a machine's speed."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """``python <arguments>``.

    Attributes:
        arguments: Of the interpreter that runs this.
        output: File for what it says.
        environment: Variables besides those of this process.
    """

    arguments: Sequence[str]
    output: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that was run.

    Attributes:
        slices: When it ran: begin and end in seconds since 1970.
        cpu_s: Seconds of processors; see ``Spent``.
    """

    slices: tuple[tuple[float, float], ...]
    cpu_s: float

    @property
    def spent(self) -> Spent:
        """What it took, without the time in which it was stopped."""
        return Spent(wall_s=self.own_s(self.slices[-1][1]), cpu_s=self.cpu_s)

    def own_s(self, moment: float) -> float:
        """For how many seconds it had run at a moment, which is in seconds since 1970."""
        return sum(min(end, moment) - begin for begin, end in self.slices if begin < moment)


def of_command(arguments: Sequence[str], *, output: Path, environment: Mapping[str, str]) -> Spent:
    """What one command takes, from its start to its end; see ``Command`` and ``by_turns``."""
    command = Command(arguments=arguments, output=output, environment=environment)
    return by_turns({"": command})[""].spent


def by_turns(commands: Mapping[str, Command], slice_s: float = SLICE_S) -> dict[str, Ran]:
    """Run commands from start to end, each for a slice while all others are stopped.

    Whatever slows the machine down for longer than a slice meets all of them. When only one is left, it runs to its
    end.

    Args:
        commands: By name, in the order in which they begin.
        slice_s: Seconds that a command runs at a time.

    Raises:
        SegpruneError: One ends with another exit code than 0.
    """
    started: dict[str, _Started] = {}
    found: dict[str, Ran] = {}
    try:
        while len(found) < len(commands):
            for name in [name for name in commands if name not in found]:
                if name not in started:
                    started[name] = _Started(commands[name])
                is_last = len(found) + 1 == len(commands)
                if (ran := started[name].run(None if is_last else slice_s)) is not None:
                    found[name] = ran
    finally:
        for one in started.values():
            one.end()
    return found


class _Started:
    """A command that runs, or is stopped, with all processes that it starts."""

    def __init__(self, command: Command) -> None:
        self._command, self._slices, self._cpu_s = command, list[tuple[float, float]](), 0.0
        self._began: float | None = time.time()
        with command.output.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, *command.arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **command.environment},
                start_new_session=True,  # so that signals reach what it starts, and not this process
            )
        self._ends = threading.Thread(target=self._wait, daemon=True)
        self._ends.start()

    def run(self, slice_s: float | None) -> Ran | None:
        """Run it for a slice, or to its end; None if it has not ended by then."""
        began = self._began or time.time()
        self._began = None
        self._send(signal.SIGCONT)
        self._ends.join(slice_s)
        if self._ends.is_alive():
            self._send(signal.SIGSTOP)
        self._slices.append((began, time.time()))
        if self._ends.is_alive():
            return None
        self._refuse_failed()
        return Ran(slices=tuple(self._slices), cpu_s=self._cpu_s)

    def end(self) -> None:
        """Kill it if it has not ended."""
        self._send(signal.SIGKILL)
        self._ends.join()

    def _wait(self) -> None:
        _, status, used = os.wait4(self._process.pid, 0)
        self._cpu_s = used.ru_utime + used.ru_stime
        self._process.returncode = os.waitstatus_to_exitcode(status)  # so that nobody waits for it again

    def _send(self, number: signal.Signals) -> None:
        if self._ends.is_alive():
            with suppress(ProcessLookupError):  # it ends just now
                os.killpg(self._process.pid, number)

    def _refuse_failed(self) -> None:
        if code := self._process.returncode:
            said = self._command.output.read_text(encoding="utf-8", errors="replace").strip()
            command = " ".join(["python", *self._command.arguments])
            last = "\n".join(said.split("\n")[-5:])
            raise SegpruneError(f"{command} ended with exit code {code}:\n{last}")
