"""Several processes that do one work together; for everything else a run stays one process.

That process waits for them, hears what they have to say, and ends them all as soon as one is gone or it is to stop
itself. They can be killed at any moment, since what they have finished is on the disk.
"""

import copy
import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from pickle import PicklingError
from tempfile import TemporaryDirectory
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
import torch.distributed as dist
from tqdm import tqdm

from segprune import stop
from segprune.allocator import keep_freed
from segprune.dataset.loading import end_workers
from segprune.errors import TrainingError
from segprune.training.rank import Arithmetic, LostError, Rank, join

Tell = Callable[[object], None]
"""What a process says to the one that waits for it."""
POLL_S, CAUSE_S = 0.2, 10.0
"""Between two looks at the processes; how long the process that is the cause may take to show after another one
has found it gone."""
LOST = 3
"""Exit code of a process that ended because another one is gone."""
CONTINUES = "The same command continues after the last finished epoch"
_LEFT_TO_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def together(
    world: int, device: torch.device, work: Callable[[Rank, Tell], None], on_message: Callable[[Any], None]
) -> None:
    """Do a work in ``world`` new processes.

    Args:
        world: How many processes.
        device: ``cuda``: each gets a GPU; ``cpu``: they share the cores.
        work: Called in each with its rank; can be pickled.
        on_message: Called here with everything that the first one tells; what it logs is logged here.

    Raises:
        TrainingError: One of them died.
    """
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="segprune-") as place:
        processes: list[SpawnProcess] = []
        readers: list[Connection] = []
        givers: list[Connection] = []
        try:
            for rank in range(world):
                reader, writer = context.Pipe(duplex=False)
                taker, giver = context.Pipe(duplex=False)
                readers.append(reader)
                givers.append(giver)
                arguments = (Rank(rank, world), device, Path(place), taker, Arithmetic.here(), writer)
                process = context.Process(target=_begin, args=arguments)
                _start(process)
                processes.append(process)
                writer.close()
                taker.close()
            for giver in givers:
                _give(giver, work)
            _follow(processes, readers, device, on_message)
        finally:
            for process in processes:
                _kill(process)


def _start(process: SpawnProcess) -> None:
    """Start it; signals wait until it can deal with them.

    What goes with the start has to be less than a pipe holds: if the new process died before it reads, this one
    would wait for ever to be rid of the rest.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _give(giver: Connection, work: Callable[[Rank, Tell], None]) -> None:
    """Tell a process what it is to do; one that is dead by now is told of by its exit code.

    Raises:
        TrainingError: What it is to do cannot be sent to it.
    """
    try:
        with giver, suppress(OSError):
            giver.send(work)
    except (PicklingError, AttributeError, TypeError) as error:
        raise TrainingError(
            f"what trains cannot be sent to the processes of several GPUs: {error}. Define it at the top of a "
            "module, or give gpus=1."
        ) from error


def _follow(
    processes: Sequence[SpawnProcess],
    readers: Sequence[Connection],
    device: torch.device,
    on_message: Callable[[Any], None],
) -> None:
    """Until all are done."""
    lost = _Lost()
    is_over = False
    while not is_over:
        stop.if_asked()
        is_over = all(process.exitcode is not None for process in processes)
        for rank, message in _said(readers):
            if isinstance(message, LostError):
                lost.notice(message)
            elif isinstance(message, BaseException):
                raise message
            elif isinstance(message, logging.LogRecord):
                logging.getLogger(message.name).handle(message)
            elif rank == 0:
                on_message(message)
        _refuse_dead([process.exitcode for process in processes], device)
        lost.tell(is_over=is_over)


def _refuse_dead(codes: Sequence[int | None], device: torch.device) -> None:
    for rank, code in enumerate(codes):
        if code not in (None, 0, LOST):
            raise TrainingError(_died(rank, len(codes), device, code or 0))


class _Lost:
    """That a process does not reach another one, for which there is a cause, which may take time to show."""

    def __init__(self) -> None:
        self._error: LostError | None = None
        self._since = 0.0

    def notice(self, error: LostError) -> None:
        if self._error is None:
            self._error, self._since = error, time.monotonic()

    def tell(self, *, is_over: bool) -> None:
        if self._error is not None and (is_over or time.monotonic() - self._since > CAUSE_S):
            raise TrainingError(
                f"the processes that train together do not reach each other any more ({self._error}). {CONTINUES}."
            )


def _said(readers: Sequence[Connection]) -> list[tuple[int, Any]]:
    """Rank and message, of all that was said by now; waits a moment if there is nothing."""
    found: list[tuple[int, Any]] = []
    ranks = {id(reader): rank for rank, reader in enumerate(readers) if not reader.closed}
    if not ranks:
        time.sleep(POLL_S)
    for reader in wait([reader for reader in readers if not reader.closed], POLL_S):
        if isinstance(reader, Connection):
            try:
                while reader.poll():
                    found.append((ranks[id(reader)], reader.recv()))
            except (EOFError, OSError):
                reader.close()
    return found


def _died(rank: int, world: int, device: torch.device, code: int) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    where = f" on GPU {rank}" if device.type == "cuda" else ""
    guess = ", as the system does when memory is short" if -code == signal.SIGKILL else ""
    return (
        f"process {rank + 1} of the {world} that train together{where} {how}{guess}, and the others were ended. "
        f"{CONTINUES}."
    )


def _kill(process: SpawnProcess) -> None:
    """End it and the processes that load its data."""
    if process.exitcode is None and process.pid:
        _kill_children(process.pid)
        process.kill()
    process.join()


def _kill_children(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()


def _begin(
    rank: Rank,
    device: torch.device,
    place: Path,
    taker: Connection,
    arithmetic: Arithmetic,
    writer: Connection,
) -> None:
    """Be one of the processes."""
    for number in _LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_PARENT)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own would be one of the system's, and left behind
    logging.root.handlers[:] = [_Sender(writer)] if rank.is_first else [logging.NullHandler()]
    logging.root.setLevel(logging.INFO)
    keep_freed()
    code = 0
    try:
        work: Callable[[Rank, Tell], None] = taker.recv()  # before it waits for the others
        join(rank, device, place, arithmetic)
        work(rank, writer.send)
        dist.barrier()  # a process that leaves earlier is taken for lost
        dist.destroy_process_group()
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        code = LOST if isinstance(error, LostError) else 0
        with suppress(OSError):
            writer.send(_portable(error, rank))
    writer.close()
    end_workers()
    os._exit(code)  # the libraries of GPUs may wait for ever for one that is gone


def _portable(error: BaseException, rank: Rank) -> BaseException:
    """The error, or one that says the same, as it can be sent."""
    told = f"in process {rank.rank + 1} of the {rank.world} that train together:\n{traceback.format_exc()}"
    if not isinstance(error, LostError):
        error.add_note(told)
    try:
        return copy.copy(error)  # made anew of its arguments, as it will be there
    except Exception:  # noqa: BLE001 - whatever a class does then
        return RuntimeError(f"{type(error).__name__}: {error}\n{told}")


def _end_with_parent() -> None:
    """End, however busy, when the process that started this one is gone."""
    if parent := multiprocessing.parent_process():
        parent.join()
    _kill_children(os.getpid())
    os._exit(LOST)


class _Sender(QueueHandler):
    """Sends log records to the parent."""

    def __init__(self, writer: Connection) -> None:
        super().__init__(queue.SimpleQueue())  # which is not used
        self._writer = writer

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send one."""
        self._writer.send(record)
