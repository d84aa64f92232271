import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from segprune.tracking.mlflow_tracker import MlflowTracking
from segprune.tracking.store import sqlite_uri
from segprune.tracking.ui import SERVER_ENVIRONMENT, command
from tests.tables import give_tables
from tests.warm import Warm

Make = Callable[..., MlflowTracking]


@pytest.fixture(autouse=True)
def no_tracking_environment(monkeypatch):
    """No server of the developer's is met, and what the room sets by default does not outlive a test."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    before = set(os.environ)
    yield
    for name in set(os.environ) - before:
        if name.startswith("MLFLOW_"):
            del os.environ[name]


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """One SQLite store for all tests; each test has its own experiment."""
    store = tmp_path_factory.mktemp("store")
    give_tables(store)
    return store


@pytest.fixture
def make(root, request) -> Make:
    name = request.node.name.replace("[", "-").replace("]", "")[:100]

    def tracking(uri=None, experiment=name, flush_seconds=1000.0) -> MlflowTracking:
        return MlflowTracking(uri=uri, root=root, experiment=experiment, flush_seconds=flush_seconds)

    return tracking


@pytest.fixture
def client(root):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=sqlite_uri(root))


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A real ``mlflow server`` on loopback that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        give_tables(folder)
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **environment: str) -> None:
        line = [*command(sqlite_uri(self.folder), "127.0.0.1", self.port), *options]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                line,
                env=dict(os.environ) | SERVER_ENVIRONMENT | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for_server(self.process, self.uri, self.folder / "server.log")

    def kill(self) -> None:
        if self.process is not None:
            stop_server(self.process)
        self.process = None


def wait_for_server(process: "subprocess.Popen[bytes]", uri: str, log: Path) -> None:
    """Return when it answers; fail with its log when it ends or does not."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), closing(urllib.request.urlopen(f"{uri}/health", timeout=2)):
            return
        time.sleep(0.2)
    raise RuntimeError(log.read_text())


def stop_server(process: "subprocess.Popen[bytes]") -> None:
    """Kill it and its workers; its session has to be its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


@pytest.fixture(scope="session")
def running_server(tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(running_server) -> Server:
    """The server, started if a test before has killed it."""
    if running_server.process is None:
        running_server.start()
    return running_server


def python(code: str, *arguments: str) -> Warm:
    """A process of its own that runs ``code``."""
    return Warm(["-c", code, *arguments], dict(os.environ), is_in_one=True)
