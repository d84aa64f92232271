"""What becomes of memory that tensors on a CPU gave up: kept for the next ones, or given back to the system."""

import ctypes
import gc
import os
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers that glibc's ``mallopt`` has for its options."""
_LARGE = 32 << 20
"""Bytes from which a block always comes from the system and goes back there: the most that glibc allows."""
_KEPT = 2**31 - 1
"""Bytes that may lie unused before some go back: the most that glibc allows."""


def keep_freed() -> None:
    """Keep the memory of freed blocks below 32 MiB.

    Else glibc gives up to a tenth of the time of a training to the system, which takes the same pages back and
    clears them again in every step. Whoever sets glibc's own variables has the say; other systems are left alone.
    """
    is_set = any(name.startswith("MALLOC_") for name in os.environ)
    mallopt = _glibc("mallopt")
    if mallopt is not None and not is_set and "glibc.malloc" not in os.environ.get("GLIBC_TUNABLES", ""):
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _KEPT)


def give_back() -> None:
    """Give all that is free back to the system, so that what is taken from now on shows as growth."""
    gc.collect()
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(function: str) -> Any:
    """A function of the C library; ``None`` where the library has no such thing."""
    return getattr(ctypes.CDLL(None), function, None)
