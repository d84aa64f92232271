"""Commands as operating system processes, a few at a time, so that a crash of one does not harm the others."""

import logging
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import Field

from segprune import stop
from segprune.dataset.workers import JOBS, cores
from segprune.errors import ConfigError
from segprune.sweep.forks import HEAVY, READ, Copy, Forks, ForksError, can_fork

log = logging.getLogger(__name__)
OUTPUT = "stdout.log"
POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Task:
    """One command.

    Attributes:
        label: What people call it.
        asked: Its options, for its status file.
        command: The program and its arguments.
        environment: Variables in addition to those of this process.
        folder: Where its output goes; made if missing.
    """

    label: str
    asked: Mapping[str, Any]
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path


@dataclass(frozen=True, kw_only=True)
class End:
    """How a process ended.

    Attributes:
        seconds: How long it ran; None: nobody knows.
        code: Its exit code; negative: the signal that killed it.
        fault: What its exit code says is wrong; empty for a good end.
        was_overdue: Whether it was stopped because it took too long.
        was_stopped: Whether it was stopped together with the pool.
    """

    seconds: float | None
    code: int
    fault: str
    was_overdue: bool
    was_stopped: bool


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How many processes at a time, and what each may use.

    Attributes:
        jobs: Processes at a time; each gets an equal share of the CPU cores unless ``OMP_NUM_THREADS`` is set.
        gpus: The GPUs, dealt out in turns. Numbers count those that this process may use, as a scheduler gave
            in ``CUDA_VISIBLE_DEVICES``; other values are names that CUDA knows. Empty: every process sees all, see
            ``gpus_for``.
        timeout_s: A process that takes longer is stopped; None: no limit.
        grace_s: Time for a stopped process to end by itself before it is killed.
        fork: Whether several tasks, all of them Python scripts, start as copies of a process that has imported
            what they need.
    """

    jobs: Annotated[int, Field(ge=1)]
    gpus: list[int | str]
    timeout_s: Annotated[float, Field(gt=0)] | None
    grace_s: Annotated[float, Field(gt=0)]
    fork: bool

    def __post_init__(self) -> None:
        if len(self.gpus) > self.jobs:
            raise ConfigError(
                f"gpus is {self.gpus}, but jobs is {self.jobs}, so {len(self.gpus) - self.jobs} of them would "
                f"stand idle. Give jobs={len(self.gpus)}, or fewer gpus."
            )
        _visible(self.gpus)

    def run(
        self,
        tasks: Sequence[Task],
        before: Callable[[Task], None],
        during: Callable[[], None],
        after: Callable[[Task, End], None],
    ) -> None:
        """Run all tasks; when it is left early, by Ctrl-C or an exception, no process stays behind.

        Args:
            tasks: What to run, in this order.
            before: Called before a process is started; its folder is there.
            during: Called again and again while processes run.
            after: Called when it is over.
        """
        waiting, live = deque(tasks), dict[int, _Process]()
        starter = self._starter(tasks)
        try:
            while waiting or live:
                for slot in [slot for slot in range(self.jobs) if slot not in live]:
                    if waiting and starter.is_ready():
                        task = waiting.popleft()
                        task.folder.mkdir(parents=True, exist_ok=True)
                        before(task)
                        live[slot] = _Process(task, {**self._share(slot), **task.environment}, starter)
                stop.if_asked()
                time.sleep(POLL_SECONDS)
                during()
                for slot, process in list(live.items()):
                    process.watch(self.timeout_s, self.grace_s)
                    if process.is_over():
                        del live[slot]
                        after(process.task, process.end(self.timeout_s))
        finally:
            try:
                self._stop(live.values())
            finally:
                starter.close()
                for process in live.values():
                    after(process.task, process.end(self.timeout_s))

    def _starter(self, tasks: Sequence[Task]) -> "_Starter":
        if not self.fork or len(tasks) < 2 or not can_fork():
            return _Starter(None)
        return _Starter(Forks(HEAVY, {**self._share(0), **tasks[0].environment}, READ))

    def _share(self, slot: int) -> dict[str, str]:
        """The variables that give a process its part of the machine."""
        threads = max(1, cores() // self.jobs)
        mine = {JOBS: str(self.jobs), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
        if self.gpus:
            mine["CUDA_VISIBLE_DEVICES"] = _visible(self.gpus)[slot % len(self.gpus)]
        return mine

    def _stop(self, processes: Iterable["_Process"]) -> None:
        processes = list(processes)
        try:
            if processes:
                log.info("stopping %d jobs; Ctrl-C kills them at once", len(processes))
            while not all(process.is_over() for process in processes):
                for process in processes:
                    process.press(self.grace_s)
                time.sleep(POLL_SECONDS)
        finally:  # also when Ctrl-C is pressed a second time
            for process in processes:
                process.kill()


class _Starter:
    """Starts commands, as copies of a process that has imported what they need while there is one."""

    def __init__(self, forks: Forks | None) -> None:
        self._forks = forks

    def is_ready(self) -> bool:
        """Whether a command can start now."""
        try:
            return self._forks is None or self._forks.is_ready()
        except ForksError as error:
            self._do_without(error)
            return True

    def __call__(
        self, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
    ) -> "subprocess.Popen[bytes] | Copy":
        """Start a command in a session of its own, which nothing is ever written to the input of."""
        if self._forks is not None:
            try:
                return self._forks.start(command[1:], environment, output.fileno())
            except ForksError as error:
                self._do_without(error)
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )

    def close(self) -> None:
        """End what is only there to start more."""
        if self._forks is not None:
            self._forks.close()
            self._forks = None

    def _do_without(self, error: ForksError) -> None:
        log.info("each job imports by itself: %s", error)
        self.close()


class _Process:
    """A started task; its session is its own, so that Ctrl-C in the terminal does not reach it."""

    def __init__(self, task: Task, environment: Mapping[str, str], start: _Starter) -> None:
        self.task, self._started = task, time.monotonic()
        self._asked: float | None = None
        self._steps, self._is_overdue = 0, False
        self._output: IO[bytes] = (task.folder / OUTPUT).open("wb")
        # Nothing is ever written to its input: it ends when this process ends, however that happens.
        self._process = start(task.command, {**os.environ, **environment}, self._output)

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def watch(self, timeout_s: float | None, grace_s: float) -> None:
        """Stop it, step by step, once it takes too long."""
        if timeout_s is not None and time.monotonic() - self._started > timeout_s and not self.is_over():
            self._is_overdue = True
            self.press(grace_s)

    def press(self, grace_s: float) -> None:
        """Ask it to end; half of the grace time later ask again, which it obeys at once; at its end kill it."""
        if self.is_over():
            return
        now = time.monotonic()
        self._asked = now if self._asked is None else self._asked
        steps = ((0.0, self._process.terminate), (grace_s / 2, self._process.terminate), (grace_s, self.kill))
        while self._steps < len(steps) and now - self._asked >= steps[self._steps][0]:
            steps[self._steps][1]()
            self._steps += 1

    def kill(self) -> None:
        """End it and the processes it has started."""
        if not self.is_over():
            self._asked = time.monotonic() if self._asked is None else self._asked
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def end(self, timeout_s: float | None) -> End:
        """How it ended; call it once it is over."""
        code = self._process.wait()
        self._output.close()
        if self._process.stdin:
            self._process.stdin.close()
        return End(
            seconds=round(time.monotonic() - self._started, 1),
            code=code,
            fault=f"no end after {timeout_s:g} s (hydra.launcher.timeout_s)"
            if self._is_overdue and code != 0
            else fault(code),
            was_overdue=self._is_overdue,
            was_stopped=self._asked is not None and not self._is_overdue,
        )


def fault(code: int) -> str:
    """What a process's exit code says; empty for a good end."""
    if code == -signal.SIGKILL:
        return "killed by signal 9, e.g. out of memory"
    if code < 0:
        return f"killed by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with exit code {code}" if code else ""


def gpus_for(jobs: int, each: int = 1) -> list[int | str]:
    """The GPUs that so many processes share where none were named: all that this process may use.

    Those that no process would be left for are left out, and that is said.

    Args:
        jobs: Processes at a time.
        each: How many GPUs each of them needs; of several, groups are dealt out.
    """
    import torch

    count = torch.cuda.device_count()  # asks the driver's library, and leaves the GPUs alone
    if each > 1:
        groups = [range(first, first + each) for first in range(0, count - each + 1, each)]
        return [",".join(_visible(group)) for group in groups[:jobs]]
    if count > jobs:
        log.warning("%d of %d GPUs stand idle, since %d jobs run at a time", count - jobs, count, jobs)
    elif 0 < count < jobs:
        log.info("%d jobs at a time share %d GPUs, and so their memory", jobs, count)
    return list(range(min(count, jobs)))


def _visible(gpus: Sequence[int] | Sequence[int | str]) -> list[str]:
    """The values of ``CUDA_VISIBLE_DEVICES`` for GPUs by number among those that this process may use, or by name.

    Raises:
        ConfigError: A number is that of a GPU which the process was not given.
    """
    given = _given()
    for gpu in gpus:
        if given is not None and isinstance(gpu, int) and not 0 <= gpu < len(given):
            which = f"which are counted from 0 to {len(given) - 1}" if given else "so no GPU at all"
            raise ConfigError(
                f"gpus is {list(gpus)}, but this process was given CUDA_VISIBLE_DEVICES={','.join(given)}, "
                f"{which}; {gpu} is none of them."
            )
    return [given[gpu] if given is not None and isinstance(gpu, int) else str(gpu) for gpu in gpus]


def _given() -> list[str] | None:
    """What a scheduler put into ``CUDA_VISIBLE_DEVICES``, up to the -1 that ends it; None: it gave all."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return None
    return list(takewhile(lambda name: name != "-1", filter(None, map(str.strip, names.split(",")))))
