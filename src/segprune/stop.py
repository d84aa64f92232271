"""Ending a run when the system asks for it, at a moment when nothing is half written."""

import signal
from types import FrameType

_asked: list[int] = []


def on_terminate(number: int, _: FrameType | None) -> None:
    """Signal handler: remember the first request, end at once on a second one.

    An exception from a handler would be raised wherever the interpreter happens to be, also where exceptions are
    swallowed, such as in the fork of a worker process.
    """
    _asked.append(number)
    if len(_asked) > 1:
        raise SystemExit(128 + number)


def if_asked() -> None:
    """End the process with the signal's exit code if there was a request; called between batches and stages."""
    if _asked:
        raise SystemExit(128 + _asked[0])


def install() -> None:
    """Handle SIGTERM, which schedulers send before they kill."""
    _asked.clear()
    signal.signal(signal.SIGTERM, on_terminate)
