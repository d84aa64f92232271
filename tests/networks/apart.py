"""Work in a process of its own: one that hangs, eats the memory or dies costs nothing but its own answer."""

import multiprocessing
import resource
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

GIB = 2**30
MOST_BYTES = 8 * GIB
"""Memory of a process; of the networks that are tried, MAnet takes the most, a third of it."""
WALL = 60
"""Wall clock for each second of CPU time, for work that waits for ever without computing."""


def answer_of(work: Callable[[], str], cpu_s: int, preload: Sequence[str] = ()) -> str:
    """What some work answers, or how its process ended.

    Args:
        work: Can be pickled, and so can what it is given.
        cpu_s: CPU time that it may take, in seconds, so that a busy machine makes no difference.
        preload: Modules that every such process has; only those of the first call count.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(work, cpu_s, writer), daemon=True)
    process.start()
    writer.close()
    try:
        if not reader.poll(WALL * cpu_s):
            return f"no end in {WALL * cpu_s} s"
        answer: str = reader.recv()
        return answer
    except EOFError:
        process.join()
        ended = -(process.exitcode or 0)
        if ended == signal.SIGXCPU:
            return f"no end in {cpu_s} CPU s"
        return f"ends by {signal.Signals(ended).name}" if ended > 0 else f"ends with exit code {-ended}"
    finally:
        reader.close()
        process.kill()
        process.join()


def _answer(work: Callable[[], str], cpu_s: int, writer: Connection) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, hard))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    writer.send(work())
