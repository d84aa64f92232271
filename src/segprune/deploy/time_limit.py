"""An end to work that may never end by itself."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Ended(BaseException):
    """Raised within work that takes too long; no ``except Exception`` on its way stops it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End what runs in the block after a time, in any thread and on any system.

    It ends Python code at the next instruction; a call into compiled code is ended when it returns.

    Raises:
        TimeoutError: The time is over.
    """
    is_done, turn = threading.Event(), threading.Lock()
    thread = threading.get_ident()

    def watch() -> None:
        wait = seconds
        while not is_done.wait(wait):
            with turn:
                if not is_done.is_set():
                    _interrupt(thread, _Ended)
            wait = 1.0  # again, should a destructor have swallowed it

    watchdog = threading.Thread(target=watch, daemon=True)
    watchdog.start()
    try:
        yield
    except _Ended:
        raise TimeoutError(f"it took longer than {seconds:g} s") from None
    finally:
        with turn:
            is_done.set()
            _interrupt(thread, None)
        watchdog.join()


def _interrupt(thread: int, error: type[BaseException] | None) -> None:
    """Raise an error in a thread, or take back one that is about to be raised."""
    what = ctypes.py_object(error) if error else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
