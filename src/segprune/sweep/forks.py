"""Jobs as copies of a process that has imported what takes seconds, for ``hydra/launcher=processes``.

The process, made once for a sweep, imports, computes nothing and has no thread of its own. For every job it copies
itself, and the copy becomes the command. Copies are children of the launcher, as if it had started them itself: it
alone sees how they end, and nothing that happens to the process reaches them. When a file of segprune or a library
is changed during the sweep, no more copies are made: a job would run the old code and keep its results as those of
the new.
"""

import ctypes
import faulthandler
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from segprune.errors import SegpruneError
from segprune.importing import importing

log = logging.getLogger(__name__)
HEAVY = (
    *("segprune.app", "torch._dynamo", "albumentations", "matplotlib.backends.backend_agg"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.tracking.client"),
)
"""What every job imports. Packages of users are not in it: nobody knows what their import starts."""
READ = ("segprune.app",)
"""Whose code every job takes the digest of."""
FROM_OUTSIDE = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
READY = b"ready"
CHANGED = b"a file of segprune or a library has changed since it was imported"
MOST_BYTES = 1 << 20
"""Of one request: arguments and environment variables of a command."""
_ADOPT = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""


class ForksError(SegpruneError):
    """A process cannot be copied; a job then starts as any command does."""


class Forks:
    """Starts Python scripts as copies of a process that has imported modules; made before it is needed."""

    def __init__(
        self, modules: Sequence[str], environment: Mapping[str, str], read: Sequence[str] = ()
    ) -> None:
        """Start the process that imports.

        Args:
            modules: What it imports.
            environment: Variables besides those of this process, as of threads, which libraries read only once.
            read: Modules whose code, with all behind it, it reads for the fingerprints of jobs.
        """
        self._mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST_BYTES)
        with other, _adopting():  # older systems look at whether it was so when the process began
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "segprune.sweep.forks", str(other.fileno())),
                    json.dumps({"modules": list(modules), "read": list(read)}),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl-C and what schedulers send is for the launcher
            )
        self._is_ready = False

    def is_ready(self) -> bool:
        """Whether it has imported everything; does not wait.

        Raises:
            ForksError: It ended before, or must not be copied.
        """
        if not self._is_ready and select.select([self._mine], [], [], 0)[0]:
            said = self._heard()
            if said != READY:
                raise ForksError(said.decode())
            self._is_ready = True
        return self._is_ready

    def start(self, command: Sequence[str], environment: Mapping[str, str], output: int) -> "Copy":
        """Start ``python <command>`` in a session of its own.

        Args:
            command: A script and its arguments.
            environment: All variables it gets.
            output: File descriptor for its standard output and error; the caller closes its own.

        Raises:
            ForksError: It cannot be started this way.
        """
        request = json.dumps({"command": list(command), "environment": dict(environment)}).encode()
        if len(request) > MOST_BYTES:
            raise ForksError(f"command and environment have {len(request)} bytes")
        hears, tells = os.pipe()
        stdin = os.fdopen(tells, "wb")
        try:
            with _adopting():
                socket.send_fds(self._mine, [request], [hears, output])
                answer = self._heard()
            if not answer.isdigit():
                raise ForksError(answer.decode())
        except OSError as error:
            stdin.close()
            raise ForksError(str(error)) from error
        except ForksError:
            stdin.close()
            raise
        finally:
            os.close(hears)
        return Copy(int(answer), stdin)

    def close(self) -> None:
        """End the process; its copies go on."""
        self._mine.close()
        self._process.kill()
        self._process.wait()

    def _heard(self) -> bytes:
        answer = self._mine.recv(4096)
        if not answer:
            raise ForksError("the process to copy has ended")
        return answer


class Copy:
    """A process that is a child of this one, with the part of ``subprocess.Popen`` that a pool needs.

    Attributes:
        pid: Its number.
        stdin: The other end of its standard input.
        returncode: Its exit code, as far as it was asked for.
    """

    def __init__(self, pid: int, stdin: IO[bytes]) -> None:
        self.pid, self.stdin = pid, stdin
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal that killed it; None while it runs."""
        return self._asked(os.WNOHANG)

    def wait(self) -> int:
        """The same, when it is over."""
        code = None
        while code is None:
            code = self._asked(0)
        return code

    def terminate(self) -> None:
        """Ask it to end. Nobody else waits for it, so its number is its own until then."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _asked(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def can_fork() -> bool:
    """Whether this system has what is needed: a process that becomes the parent of its grandchildren."""
    if sys.platform != "linux":
        return False
    with suppress(OSError), _adopting():
        return True
    return False


@contextmanager
def _adopting() -> Iterator[None]:
    """Meanwhile, this process becomes the parent of each process below it whose own parent ends.

    Raises:
        OSError: The system does not allow it.
    """
    call = ctypes.CDLL(None, use_errno=True).prctl
    if call(_ADOPT, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "a process cannot become the parent of its grandchildren")
    try:
        yield
    finally:
        call(_ADOPT, 0, 0, 0, 0)


def serve(wire: socket.socket, *, modules: Sequence[str], read: Sequence[str]) -> None:
    """Import and read, then copy this process for every request until the other end is closed.

    Returns in this process when there is nothing left to do; in a copy after it has been the command.
    """
    # It ends with the launcher, and a scheduler's word is for that. What is blocked waits, also in a copy that is
    # not the command yet; what is ignored would be lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FROM_OUTSIDE)
    found = _code()
    try:
        with importing(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jobs tell nothing of imports that they have not made
            for name in modules:
                importlib.import_module(name)
        if read:
            from segprune.store.code import code_of

            code_of(read)
        refuse_to_fork()
    except Exception as error:  # noqa: BLE001 - the launcher starts jobs without
        wire.send(f"{type(error).__name__}: {error}".encode()[:4000])
        return
    gc.collect()
    gc.freeze()  # else the first collection in a copy would write to, and so copy, all memory
    wire.send(READY)
    while True:
        request, handed, _, _ = socket.recv_fds(wire, MOST_BYTES, 2)
        if not request:
            return
        answer, is_job = _twice_forked() if _code() == found else (CHANGED, False)
        if is_job:
            wire.close()
            become(**json.loads(request), streams=handed, blocked=before)
            return
        for stream in handed:
            os.close(stream)
        wire.send(answer)


def _code() -> dict[str, object]:
    """What tells whether a file of this package, or which libraries are installed, has changed."""
    files = [(str(path), path.stat()) for path in Path(__file__).parents[1].rglob("*.py")]
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return {
        **{path: (about.st_mtime_ns, about.st_ctime_ns, about.st_size) for path, about in files},
        **{place: sorted(one.name for one in Path(place).glob("*.dist-info")) for place in places},
    }


def refuse_to_fork() -> None:
    """Check that copies of this process can work.

    Raises:
        ForksError: An import opened a GPU, whose driver does not survive a copy, or started a thread of Python,
            which a copy would not have.
    """
    targets = map(_target, Path("/proc/self/fd").iterdir())
    if opened := [target for target in targets if target.startswith("/dev/nvidia")]:
        raise ForksError(f"an import has opened {opened[0]}")
    if (count := threading.active_count()) > 1:
        raise ForksError(f"imports have started {count - 1} threads")


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # the descriptor that listed the folder
        return ""


def _twice_forked() -> tuple[bytes, bool]:
    """Copy this process by a process between them that ends at once, so that the launcher is the copy's parent.

    Returns:
        What to answer (the copy's number, or why there is none), and whether this is the copy.
    """
    hears, tells = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        os.close(hears)
        os.close(tells)
        return str(error).encode(), False
    if middle == 0:
        try:
            pid = os.fork()
        except OSError as error:
            os.write(tells, str(error).encode())
            os._exit(1)
        if pid:
            os._exit(0)
        os.setsid()  # before anybody knows its number, so that its group can be killed from the start
        os.write(tells, str(os.getpid()).encode())
        os.close(hears)
        os.close(tells)
        return b"", True
    os.close(tells)
    with os.fdopen(hears, "rb") as told:
        answer = told.read()
    os.waitpid(middle, 0)  # from here on the launcher is the copy's parent
    return answer or b"the process between has ended", False


def become(
    command: Sequence[str], environment: Mapping[str, str], streams: Sequence[int], blocked: Collection[int]
) -> None:
    """Go on as ``python <command>`` with these variables, standard input and output, and signals blocked."""
    stdin, output = streams
    for number, stream in ((0, stdin), (1, output), (2, output)):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    if environment.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    script = command[0]
    sys.argv, sys.path[0] = list(command), str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), **json.loads(sys.argv[2]))
