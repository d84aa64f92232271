"""Memory that processes of one user on one machine share: mapped from a file that is there while one uses it."""

import contextlib
import functools
import logging
import mmap
import os
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

if sys.platform == "linux":
    import fcntl

log = logging.getLogger(__name__)

_open: "weakref.WeakValueDictionary[str, Memory]" = weakref.WeakValueDictionary()
"""What this process has, by its names."""
_sharing: ContextVar[bool] = ContextVar("_sharing", default=True)


class Memory:
    """Bytes that are zero at first, and that this process and those that it forks share.

    With a name, all processes of this user and machine that give it share them, as long as at least one does: their
    file lies in the folder for temporary files (``TMPDIR``), with its whole size set aside so that a full disk is
    seen at once, and the last one to leave removes it. What a killed process left is removed by the next one, and
    never read. Where this cannot be had, the bytes are of this process alone.

    Attributes:
        bytes: Where they are.
        file: Where others find them; None: nowhere.
    """

    def __init__(self, size: int, name: str | None = None) -> None:
        """Have the bytes.

        Args:
            size: How many, above 0.
            name: A file name that says all that the content depends on; None: nobody else has them.
        """
        self.file: Path | None = None
        opened = _opened(f"{name}-{size}", size) if name and sys.platform == "linux" else None
        if opened is None:
            self.bytes = mmap.mmap(-1, size)
            return
        self.file, descriptor = opened
        self.bytes = mmap.mmap(descriptor, size)
        # views of the bytes may outlive this object: their mapping does not need the file's name
        weakref.finalize(self, _leave, self.file, descriptor, os.getpid())


def memory(size: int, name: str | None = None) -> Memory:
    """The memory of this process with the name, while an object has it, else a new one; arguments as ``Memory``."""
    if name is None or not _sharing.get():
        return Memory(size)
    held = _open.get(f"{name}-{size}")
    if held is None:
        held = _open[f"{name}-{size}"] = Memory(size, name)
    return held


@contextmanager
def unshared() -> Iterator[None]:
    """Meanwhile memory is of its own: for whoever measures how long it takes to fill it."""
    token = _sharing.set(False)
    try:
        yield
    finally:
        _sharing.reset(token)


def folder() -> Path:
    """Where the files lie: of this user, readable by nobody else."""
    return Path(tempfile.gettempdir(), f"segprune-{os.getuid()}")


def _opened(name: str, size: int) -> tuple[Path, int] | None:
    """The file and its descriptor, whose lock says that it is used; None: it cannot be had."""
    place = folder()
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        about = place.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
            _tell(f"others can open {place}, or it is no folder")
            return None
        for other in place.iterdir():
            if other.name != name:
                _remove_unused(other)
        return place / name, _joined(place / name, size)
    except OSError as error:
        _tell(f"{place} cannot be used ({error.strerror})")
        return None


@functools.cache
def _tell(reason: str) -> None:
    """Say once why memory is not shared."""
    log.info(
        "each job keeps its own decoded images, since %s; to share them, set TMPDIR to another folder", reason
    )


def _joined(path: Path, size: int) -> int:
    """A descriptor of the file with the lock of a user; begun anew if there was no other user."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with contextlib.ExitStack() as unless_joined:
            unless_joined.callback(os.close, descriptor)
            if _is_alone(descriptor):
                os.ftruncate(descriptor, 0)
                try:
                    os.posix_fallocate(descriptor, 0, size)
                except OSError:
                    path.unlink(missing_ok=True)
                    raise
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            held = os.fstat(descriptor)
            # while it waited, the file may have been removed, or left unfinished by one that died
            if held.st_nlink and held.st_size == size:
                unless_joined.pop_all()
                return descriptor


def _is_alone(descriptor: int) -> bool:
    """Whether no other process had the lock; this one has it now, for itself."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _leave(path: Path, descriptor: int, owner: int) -> None:
    """Remove the file if nobody else uses it; a forked process, which has the lock of its parent, leaves it."""
    if os.getpid() == owner and _is_alone(descriptor):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    os.close(descriptor)


def _remove_unused(path: Path) -> None:
    """Remove a file that no process uses, of one that was killed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if _is_alone(descriptor):
                path.unlink()
        finally:
            os.close(descriptor)
