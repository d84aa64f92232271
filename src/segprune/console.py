"""What every command has in common: its lines on the console, and a reader that leaves.

``segprune store list | head -1`` closes the pipe after one line. Other Unix programs die of SIGPIPE then, without
a word; commands here end without a word too, with the exit code that a shell shows for that.
"""

import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence

READER_GONE = 128 + signal.SIGPIPE
"""Exit code of a command whose output nobody reads any more."""
MISTAKE = 1
"""Exit code of a command that cannot be done as it was typed."""
UNKNOWN_FLAG = 2
"""Exit code of argparse, which has said what is wrong."""
STREAMS = (1, 2)
"""File descriptors of standard output and standard error."""


def command(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command whose log lines are its output, and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    return while_read(lambda: _ended(main, arguments))


def _ended(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit code, by the same rules as that of a run."""
    try:
        return main(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("\nsegprune: interrupted\n")
        return 128 + signal.SIGINT
    except SystemExit as ended:
        if ended.code == UNKNOWN_FLAG:
            return MISTAKE
        raise


def while_read(work: Callable[[], int]) -> int:
    """The exit code of some work; ``READER_GONE``, and no word, when the reader of its output left meanwhile.

    Raises:
        BrokenPipeError: It was another pipe, such as one to another process.
    """
    tells, logging.raiseExceptions = logging.raiseExceptions, False  # else each unread line makes a traceback
    try:
        try:
            code = work()
        finally:
            sys.stdout.flush()  # what is left would be written at exit, where nothing can catch the error
    except BrokenPipeError:
        if not silence_unread():
            raise
        return READER_GONE
    finally:
        logging.raiseExceptions = tells
    return READER_GONE if silence_unread() else code  # log lines that met the broken pipe raised nothing


def silence_unread() -> bool:
    """Drop from now on what is written to a pipe without a reader; tells whether there is such a pipe."""
    unread = [stream for stream in STREAMS if _is_unread(stream)]
    for stream in unread:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream)
        os.close(nowhere)
    return bool(unread)


def _is_unread(stream: int) -> bool:
    """Whether the other end of a pipe or socket is closed; never so for a file, a terminal or a closed stream."""
    poll = select.poll()
    poll.register(stream, 0)  # errors are reported whatever is asked for
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
