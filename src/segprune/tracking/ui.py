"""Serves the MLflow UI on the local MLflow store of an output folder; behind ``segprune ui`` and ``make ui``."""

import argparse
import errno
import os
import socket
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from segprune import console
from segprune.errors import TrackingError
from segprune.tracking.store import ENVIRONMENT, artifact_root, sqlite_path, sqlite_uri
from segprune.tracking.views import LEADERBOARD, page

# One worker and no job runner: 0.5 GB and 9 s instead of 1.9 GB and half a minute.
SERVER_ENVIRONMENT = ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def main(arguments: Sequence[str]) -> int:
    """Become the server, or say why not; then the exit code is 1."""
    parser = argparse.ArgumentParser(
        prog="segprune ui", description="Serve the MLflow UI on the local MLflow store of an output folder."
    )
    outputs = Path(os.environ.get("SEGPRUNE_OUTPUTS", "outputs"))
    parser.add_argument(
        "--outputs", type=Path, default=outputs, help="the folder that holds mlflow.db (%(default)s)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="127.0.0.1 (default): this machine only; no log-in"
    )
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args(arguments)
    try:
        serve(options.outputs, options.host, options.port)
    except TrackingError as error:
        sys.stderr.write(f"segprune: {error}\n")
    return 1


def serve(outputs: Path, host: str, port: int) -> None:
    """Print the links and become the server.

    Raises:
        TrackingError: There is nothing to serve, or the port is taken.
    """
    pages = leaderboards(outputs, f"http://{host}:{port}")
    require_free(host, port)
    lines = ["Starting the MLflow UI (Ctrl-C ends it). In some seconds open:", *pages]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    line = command(sqlite_uri(outputs), host, port)
    os.execvpe(sys.executable, line, SERVER_ENVIRONMENT | dict(os.environ))


def command(uri: str, host: str, port: int) -> list[str]:
    """The command line of a server for a SQLite store and its files."""
    database = sqlite_path(uri)
    if database is None:
        raise TrackingError(f"{uri} is not a SQLite store; start its own server instead")
    files = artifact_root(database)
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", host]
    server += ["--port", str(port), "--workers", "1", "--artifacts-destination", files.as_uri()]
    if is_loopback(host):
        # Experiments made through this server then keep plain paths, so that runs without it can write too.
        server += ["--default-artifact-root", files.as_uri()]
    return server


def leaderboards(outputs: Path, site: str) -> list[str]:
    """A line for each experiment: its name and the link to its leaderboard.

    Raises:
        TrackingError: Nothing has been tracked into this folder yet.
    """
    database = sqlite_path(sqlite_uri(outputs))
    if database is None or not database.exists():
        raise TrackingError(f"{database} does not exist yet: run something first, e.g. `segprune run`")
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(
                "select experiment_id, name from experiments where lifecycle_stage = 'active' order by name"
            ).fetchall()
    except sqlite3.DatabaseError as error:
        raise TrackingError(f"{database} is not an MLflow store ({error}); move it away") from error
    return [f"  {name}: {site}{page(str(number), LEADERBOARD)}" for number, name in rows if name != "Default"]


def require_free(host: str, port: int) -> None:
    """Refuse a port that is taken.

    Raises:
        TrackingError: It is taken, or cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            what = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error})"
            raise TrackingError(
                f"port {port} of {host} {what}: the UI may be open there already; else give another one, "
                f"e.g. `make ui PORT={port + 1}`"
            ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    return host in {"localhost", "::1"} or host.startswith("127.")


if __name__ == "__main__":
    sys.exit(console.command(main, sys.argv[1:]))
