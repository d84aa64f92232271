"""Opens the MLflow store: prepares a SQLite file once, or finds out quickly that a server is not there."""

import http.client
import logging
import os
import re
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from segprune import durable
from segprune.errors import ConfigError, TrackingError
from segprune.importing import importing
from segprune.tracking.failure import UnreachableError, first_line, http_status, is_refusal, opening_failures

LOG = logging.getLogger(__name__)

SQLITE = "sqlite:///"
PROBE_SECONDS = 4.0
LOCK_SECONDS = 180.0  # creating a store takes 2 s of CPU; many jobs may start on a busy machine
# Read by mlflow when it is imported or called; what the user has set stays.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# MLflow's own defaults retry for minutes, with a warning each time; the sender tries again by itself.
HTTP_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # an upload is answered when the storage behind the server has it
}


def sqlite_uri(root: Path) -> str:
    """The default store below an output folder."""
    return f"{SQLITE}{root.resolve() / 'mlflow.db'}"


def sqlite_path(uri: str) -> Path | None:
    """The file behind a SQLite URI, absolute; ``None`` for any other store."""
    return Path(uri.removeprefix(SQLITE)).resolve() if uri.startswith(SQLITE) else None


def artifact_root(database: Path) -> Path:
    """Where the runs of a SQLite store keep their files."""
    return database.parent / "mlartifacts"


def is_http(uri: str) -> bool:
    """Whether MLflow is a server."""
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """The URI without user name and password."""
    return re.sub(r"^([\w+.-]+://)[^/]*@", r"\1", uri)


def require_run_id(which: str, folders: str) -> None:
    """Check that something that is no folder can be the id of a run.

    Args:
        which: What was given.
        folders: Which folders could have been given instead.

    Raises:
        ConfigError: It cannot.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", which):
        raise ConfigError(
            f"{which} is neither a folder nor the id of an MLflow run. Give {folders}, or the 32 hex digits that "
            "the MLflow UI shows as Run ID."
        )


def open_client(uri: str) -> Any:
    """An ``MlflowClient`` for a store that answers.

    Raises:
        ConfigError: MLflow cannot use such a URI.
        UnreachableError: No server is there, or the SQLite file cannot be used.
        TrackingError: MLflow knows no such store.
    """
    path = sqlite_path(uri)
    if (path is None and "://" not in uri) or uri.startswith("file:"):
        raise ConfigError(
            f"tracking.uri is {uri!r}: MLflow no longer tracks into folders; use http(s)://host:port, "
            "sqlite:////absolute/path/mlflow.db, or null for a SQLite file below the outputs"
        )
    if path is not None:
        return _sqlite_client(uri, path)
    if is_http(uri):
        _probe(uri)
    try:
        return _client(uri)
    except opening_failures() as error:
        raise store_error(error, uri) from error


def store_error(error: Exception, uri: str) -> TrackingError:
    """What to tell when MLflow at ``uri`` answers with an error; ``UnreachableError`` if it may pass."""
    status = http_status(error)
    if status in {401, 403} and is_http(uri):
        return TrackingError(
            f"the MLflow server at {shown(uri)} refuses the credentials (HTTP {status}: {first_line(error)}); set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to those of a user "
            "who may write to this experiment, or run with tracking=silent"
        )
    kind = TrackingError if is_refusal(error) or status in {401, 403} else UnreachableError
    way_on = _way_on() if sqlite_path(uri) is None else _FILE_WAY_ON
    return kind(f"MLflow at {shown(uri)} fails: {first_line(error)}; {way_on}")


def _client(uri: str) -> Any:
    for name, value in (ENVIRONMENT | (HTTP_ENVIRONMENT if is_http(uri) else {})).items():
        os.environ.setdefault(name, value)
    with importing():
        import mlflow

    # Both URIs are given, so that nothing is taken from, or written to, process-wide settings.
    with _quiet(), importing():
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _probe(uri: str) -> None:
    """Ask the server for a sign of life; any HTTP answer is one."""
    try:
        with closing(urllib.request.urlopen(f"{shown(uri).rstrip('/')}/health", timeout=PROBE_SECONDS)):
            return
    except urllib.error.HTTPError as answer:
        answer.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # somebody answers; MLflow has settings of its own for whom to trust
        raise UnreachableError(
            f"no MLflow server answers at {shown(uri)} ({first_line(error)}); {_way_on()}"
        ) from error


_FILE_WAY_ON = (
    "if another program holds the file, such as a database browser, close it and repeat the command; or give "
    "another tracking.root, or run with tracking=silent"
)


def _way_on() -> str:
    return (
        "start it (`make ui` serves the local MLflow store), unset MLFLOW_TRACKING_URI and tracking.uri to use the "
        "local SQLite store, or run with tracking=silent"
    )


def _sqlite_client(uri: str, path: Path) -> Any:
    """Tables are made by one process at a time, for two at once break each other."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with durable.Lock(f"{path}.lock", timeout=LOCK_SECONDS):
            if not path.exists():
                _make_tables(path)
            _write_ahead(path)
            return _client(uri)
    except Timeout as error:
        raise UnreachableError(
            f"{path}.lock is held by another process for more than {LOCK_SECONDS:.0f} s; end that process"
        ) from error
    except opening_failures() as error:
        raise UnreachableError(
            f"MLflow {path} cannot be used: {first_line(error)}; {_mend(path, error)}"
        ) from error


def _make_tables(path: Path) -> None:
    """Make the file under another name first: MLflow cannot go on where a killed process left half of it."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    for leftover in (unfinished, path.with_name(f"{unfinished.name}-journal")):
        leftover.unlink(missing_ok=True)
    _client(f"{SQLITE}{unfinished}")._tracking_client.store.engine.dispose()
    os.replace(unfinished, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's news about the tables it makes from the console; warnings still come through."""
    before = {logger: logger.level for logger in map(logging.getLogger, ("mlflow.store.db", "alembic"))}
    for logger, level in before.items():
        logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


def _mend(path: Path, error: Exception) -> str:
    if "schema" in str(error):
        return f"it was made by another version of MLflow: `mlflow db upgrade {SQLITE}{path}` after a backup"
    return "move it away or give another tracking.root"


def _write_ahead(path: Path) -> None:
    """Let readers and a writer work at once; the mode stays with the file.

    A network disk may not offer it: then SQLite keeps its default mode, which is slower but right.
    """
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        (mode,) = connection.execute("pragma journal_mode=WAL").fetchone()
    if mode != "wal":
        LOG.info("%s stays in journal mode %s", path, mode)
