"""Imports in three quarters of the time, and without a share in all later looks for garbage."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Meanwhile nobody looks for garbage, of which imports make hardly any.

    Of what is there after an import that brought something new, nobody looks for garbage any more: it is half a
    million objects that stay, through which each look would take a third of a second.
    """
    was_looking, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if was_looking:
            gc.enable()
        if len(sys.modules) > known:
            gc.freeze()
