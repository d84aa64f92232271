"""``python run.py ...`` in a process of its own, forked from one that has imported what takes seconds.

What it cannot show is how a process starts, so ``tests.test_cli.run`` is there for that.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from segprune.importing import importing

ROOT = Path(__file__).parent.parent
LIMIT_S = 300
HEAVY = (
    *("segprune.app", "torch._dynamo", "albumentations", "matplotlib.backends.backend_agg"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.tracking.client", "segprune.report.write"),
)


def run_warm(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, as ``subprocess.run`` does."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {"arguments": arguments, "environment": environment, "folder": folder}
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(f"{json.dumps(asked)}\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        out, error = ((Path(folder) / name).read_text(encoding="utf-8") for name in ("out", "error"))
    return subprocess.CompletedProcess(["run.py", *arguments], code, out, error)


@functools.cache
def _server() -> "subprocess.Popen[str]":
    """The process that forks, one for this process."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    atexit.register(server.kill)
    return server


def _serve() -> None:
    with importing():
        for name in HEAVY:
            importlib.import_module(name)
    from segprune.store.code import code_of

    code_of(["segprune.app"])  # of which every command takes the digest
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(**asked)
            return
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Go on as the process that the command would have started."""
    os.setsid()
    signal.alarm(LIMIT_S)
    for number, name in enumerate(("in", "out", "error")):
        how = os.O_RDWR | os.O_CREAT
        os.dup2(os.open(f"{folder}/{name}", how), number)
    os.environ.clear()
    os.environ.update(environment)
    script = str(ROOT / "run.py")
    sys.argv, sys.path[0] = [script, *arguments], str(ROOT)
    sys.path[1:1] = environment.get("PYTHONPATH", "").split(os.pathsep)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    _serve()
