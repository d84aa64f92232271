"""``python ...`` in a process of its own, forked from one that has imported what takes seconds.

What it cannot show is how a process starts, so ``tests.test_cli.run`` is there for that.
"""

import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from segprune.importing import importing
from tests import tables
from tests.quick_hydra import read_files_once, without_asking_the_mode
from tests.run_here import ROOT

LIMIT_S = 300
HEAVY = (
    *("segprune.app", "torch._dynamo", "albumentations", "matplotlib.backends.backend_agg"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.tracking.client", "segprune.report.write"),
)


class Warm:
    """A started process, with what of ``subprocess.Popen`` tests use; leads a process group, started in ``ROOT``.

    Attributes:
        pid: Its number, which is also that of its group.
        returncode: None as long as it runs.
    """

    def __init__(self, command: list[str], environment: dict[str, str], *, is_in_one: bool = False) -> None:
        """Start it.

        Args:
            command: What follows ``python``: a script, ``-c`` or ``-m``, and arguments.
            environment: All of it.
            is_in_one: Its complaints are part of its output.
        """
        self._folder = Path(tempfile.mkdtemp(dir=tables.place))
        self._line = _connected()
        for name in ("in", "out", "error"):
            (self._folder / name).touch()
        files = [str(self._folder / name) for name in ("in", "out", "out" if is_in_one else "error")]
        asked = {"command": command, "environment": environment, "files": files}
        self._line.sendall(f"{json.dumps(asked)}\n".encode())
        self._said = b""
        self.returncode: int | None = None
        self.pid = self._number(LIMIT_S)

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float = LIMIT_S) -> int:
        """The exit code, as soon as it has ended."""
        if self.returncode is None:
            self.returncode = self._number(timeout)
            self._line.close()
        return self.returncode

    def communicate(self, timeout: float = LIMIT_S) -> tuple[str, str]:
        """All that it has said to the end."""
        self.wait(timeout)
        return self.output(), self.error()

    def output(self) -> str:
        """What it has said so far."""
        return (self._folder / "out").read_text(encoding="utf-8")

    def error(self) -> str:
        """What it has complained of so far."""
        return (self._folder / "error").read_text(encoding="utf-8")

    def kill(self) -> None:
        """At once."""
        os.kill(self.pid, signal.SIGKILL)

    def _number(self, timeout: float) -> int:
        """The next that the server tells: first the pid, then the exit code."""
        self._line.settimeout(timeout)
        while b"\n" not in self._said:
            more = self._line.recv(100)
            assert more, "the process that forks has ended"
            self._said += more
        number, self._said = self._said.split(b"\n", 1)
        return int(number)


def run_warm(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """``run.py`` with arguments, to its end, as ``subprocess.run`` does."""
    process = Warm([str(ROOT / "run.py"), *arguments], environment)
    return subprocess.CompletedProcess(["run.py", *arguments], process.wait(), *process.communicate())


@functools.cache
def _presence() -> socket.socket:
    """As long as one process of this pytest has such a line, the one process that forks goes on."""
    address = str(tables.place / "warm")
    line = socket.socket(socket.AF_UNIX)
    with FileLock(f"{address}.lock"):
        try:
            line.connect(address)
        except OSError:  # there is none yet, or none any more
            Path(address).unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(address)
                listener.listen()
                _start(listener)
                line.connect(address)
    return line


def _connected() -> socket.socket:
    _presence()
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(tables.place / "warm"))
    return line


def _start(listener: socket.socket) -> None:
    number = listener.fileno()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", str(number)],
        pass_fds=[number],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    server.returncode = 0  # others may use it for longer than this process lives


def _serve(listener: socket.socket) -> None:
    """Fork for each command that is asked for, until nobody is left to ask."""
    with importing():
        for name in HEAVY:
            importlib.import_module(name)
    from segprune.store.code import code_of

    read_files_once()
    source = ROOT / "src"
    files = [path.relative_to(source).with_suffix("") for path in source.rglob("segprune/**/*.py")]
    # commands take digests of some of them
    code_of([".".join(file.parts) for file in files if file.name != "__init__"])
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    lines = [listener.accept()[0]]
    while lines or select.select([listener], [], [], 5)[0]:
        for ready in select.select([listener, *lines], [], [])[0]:
            if ready is listener:
                lines.append(listener.accept()[0])
                continue
            asked = ready.makefile(encoding="utf-8").readline()
            if asked and os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                pid = os.fork()
                if pid == 0:
                    _become(**json.loads(asked))
                    return
                ready.sendall(f"{pid}\n".encode())
                _, status = os.waitpid(pid, 0)
                ready.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                os._exit(0)
            lines.remove(ready)
            ready.close()


def _become(command: list[str], environment: dict[str, str], files: list[str]) -> None:
    """Go on as the process that the command would have started."""
    os.setsid()
    signal.alarm(LIMIT_S)
    for number, path in enumerate(files):
        os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    if environment.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
    sys.path[0] = str(ROOT)
    sys.path[1:1] = environment.get("PYTHONPATH", "").split(os.pathsep)
    what, *rest = command
    sys.argv = command if what not in {"-c", "-m"} else [what, *rest[1:]]
    with without_asking_the_mode():
        if what == "-c":
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        elif what == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
