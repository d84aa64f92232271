"""The line that tells where to see a run."""

import shlex
from pathlib import Path

from segprune.tracking.store import is_http, shown, sqlite_path, sqlite_uri

SITE = "http://127.0.0.1:5000"


def url_hint(uri: str, page: str) -> str:
    """One line: the page on the server, or the command that serves the local MLflow store and then the page.

    Args:
        uri: Of MLflow.
        page: Path of the run's page, with the leading slash.
    """
    if is_http(uri):
        return f"{shown(uri)}{page}"
    return f"{_command(uri)}, then {SITE}{page}"


def _command(uri: str) -> str:
    """The command that serves MLflow, to be typed in the current folder."""
    database = sqlite_path(uri)
    if database is None or uri != sqlite_uri(database.parent):
        return shlex.join(["mlflow", "server", "--backend-store-uri", shown(uri)])
    if database.parent == (Path.cwd() / "outputs").resolve():
        return "make ui"
    return shlex.join(["segprune", "ui", "--outputs", str(database.parent)])
