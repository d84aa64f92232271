"""Files that parallel jobs share: one job writes them under a lock, the others see them only when complete."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from segprune import durable
from segprune.errors import ConfigError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path`` (a file next to it), after waiting for another holder; creates missing folders.

    Raises:
        ConfigError: The folder cannot be created or written to.
    """
    lock = durable.Lock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise ConfigError(
            f"dataset.cache_dir: {path.parent} cannot be written ({error}); set dataset.cache_dir to a "
            "writable folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name and rename it, so that it is never seen half written.

    The caller holds ``locked(path)``; what a killed job left under the temporary name is overwritten.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
