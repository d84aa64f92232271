"""Writing files so that after a power cut or a kill there is the old file or the new one, never half of one."""

import errno
import hashlib
import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from filelock import AcquireReturnProxy, FileLock

from segprune.errors import ConfigError

REMEDIES = {
    errno.ENOSPC: "Free disk space",
    errno.EDQUOT: "Free disk space or have the quota raised",
    errno.EROFS: "Make the disk writable",
    errno.EACCES: "Make it readable and writable",
    errno.EPERM: "Make it readable and writable",
    errno.EIO: "Check the disk",
    errno.EFBIG: "Have the limit on file sizes raised",
}
"""Remedy when the disk refuses, by the number of the error."""


class Lock(FileLock):
    """A lock that one process holds at a time, and that the system releases however the process ends.

    On a disk without such locks filelock would take the existence of the file for one, which a killed process
    leaves behind; that is refused here.
    """

    def __init__(self, path: Path | str, timeout: float = -1, *, thread_local: bool = True) -> None:
        super().__init__(path, timeout, thread_local=thread_local, fallback_to_soft=False)

    def acquire(self, *given: Any, **named: Any) -> AcquireReturnProxy[Self]:
        """Take it, see ``FileLock``.

        Raises:
            ConfigError: The disk has no locks.
        """
        try:
            return super().acquire(*given, **named)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            raise ConfigError(
                f"{self.lock_file} cannot be locked: the disk has no file locks. Have it mounted with them "
                "(Lustre: with flock), or put paths.outputs on another disk."
            ) from error


class Checked(io.BufferedWriter):
    """A file that keeps the SHA-256 of everything written to it, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self.sha256 = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        """Write bytes at the end."""
        self.sha256.update(data)
        return super().write(data)


@contextmanager
def replacing(path: Path, *, is_shared: bool = False) -> Iterator[Checked]:
    """A file to write to; at the end of the block it replaces the path, on an error it does not.

    Args:
        path: What is replaced; what a killed process left beside it, under its name and ``.tmp``, is overwritten.
        is_shared: Whether others may write it at the same time; the last one's stays then.
    """
    own = f".{uuid.uuid4().hex[:8]}" if is_shared else ""
    unfinished = path.with_name(f"{path.name}{own}.tmp")
    try:
        with Checked(unfinished) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot do this for folders
            raise
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """64 hex digits of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ends_in_its_checksum(path: Path) -> bool:
    """Whether the last 32 bytes of a file are the SHA-256 of all bytes before them."""
    left, digest = path.stat().st_size - 32, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
        return file.read() == digest.digest()
