import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED

from segprune.errors import ConfigError, TrackingError
from segprune.tracking import store
from segprune.tracking.failure import UnreachableError
from segprune.tracking.store import artifact_root, open_client, shown, sqlite_path, sqlite_uri, store_error
from tests.tracking.conftest import free_port, python


def serve(status, body=b"no"):
    """A server on loopback that answers every request alike."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def answering(request):
    server = serve(*request.param)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_places_follow_from_the_output_folder(tmp_path, monkeypatch):
    assert sqlite_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert sqlite_path(sqlite_uri(tmp_path)) == tmp_path / "mlflow.db"
    assert artifact_root(tmp_path / "mlflow.db") == tmp_path / "mlartifacts"
    assert sqlite_path("http://host:5000") is None
    monkeypatch.chdir(tmp_path)
    assert sqlite_path("sqlite:///mlflow.db") == tmp_path / "mlflow.db"


def test_credentials_in_a_uri_are_never_shown():
    assert shown("https://me:secret@host:5000/path") == "https://host:5000/path"
    assert shown("postgresql+psycopg2://me:secret@host/db") == "postgresql+psycopg2://host/db"
    assert shown("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"
    assert "secret" not in str(store_error(OSError("out"), "https://me:secret@host"))


def test_a_new_store_is_ready_and_in_write_ahead_mode(root, make):
    client = open_client(sqlite_uri(root))
    assert [experiment.name for experiment in client.search_experiments(filter_string="name = 'Default'")]
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


@pytest.mark.slow
def test_three_processes_may_create_the_store_at_once(tmp_path):
    code = (
        "from segprune.tracking.store import open_client, sqlite_uri\n"
        "from pathlib import Path\n"
        f"client = open_client(sqlite_uri(Path({str(tmp_path)!r})))\n"
        "print(client.search_experiments()[0].name)\n"
    )
    processes = [python(code) for _ in range(3)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert all(text.endswith("Default\n") for text in said)


HALF = """
import os, signal, sys
from pathlib import Path
import sqlalchemy
from segprune.tracking.store import open_client, sqlite_uri

def kill(connection, cursor, statement, *rest):
    if statement.startswith("ALTER TABLE"):
        os.kill(os.getpid(), signal.SIGKILL)

sqlalchemy.event.listen(sqlalchemy.engine.Engine, "after_cursor_execute", kill)
open_client(sqlite_uri(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_process_killed_while_it_makes_the_store_blocks_and_breaks_nothing(tmp_path):
    process = python(HALF, str(tmp_path))
    said = process.communicate(timeout=120)[0]
    assert process.returncode == -signal.SIGKILL, said
    client = open_client(sqlite_uri(tmp_path))
    assert client.search_experiments()[0].name == "Default"
    assert {path.name for path in tmp_path.glob("*unfinished*")} == set()


@pytest.mark.parametrize("uri", ["./mlruns", "file:/tmp/mlruns", "mlruns"])
def test_a_folder_is_refused_with_the_ways_on(uri):
    with pytest.raises(ConfigError, match=rf"tracking.uri is '{uri}'.*sqlite:////absolute"):
        open_client(uri)


def test_a_scheme_unknown_to_mlflow_is_refused():
    with pytest.raises(TrackingError, match=r"gopher://host fails"):
        open_client("gopher://host")


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "http://127.0.0.1:port", "http://[::1"])
def test_a_server_that_is_not_there_is_found_out_quickly(uri):
    uri = uri.format(port=free_port())
    started = time.monotonic()
    with pytest.raises(TrackingError, match=r"no MLflow server answers at http://.*make ui.*tracking=silent"):
        open_client(uri)
    assert time.monotonic() - started < 3


def test_whom_to_trust_is_left_to_mlflow_which_has_settings_for_it(monkeypatch):
    def distrusted(*_, **__):
        raise urllib.error.URLError(ssl.SSLCertVerificationError("self-signed certificate"))

    monkeypatch.setattr(urllib.request, "urlopen", distrusted)
    assert open_client(f"https://127.0.0.1:{free_port()}") is not None


@pytest.mark.parametrize("answering", [(401, b"log in"), (200, b"OK")], indirect=True)
def test_any_answer_is_a_sign_of_life(answering):
    assert open_client(answering) is not None


@pytest.mark.parametrize("parent", [None, "a-sweep"])
@pytest.mark.parametrize("answering", [(401, b"who are you"), (403, b"not you")], indirect=True)
def test_a_refused_log_in_names_the_variables_to_set(answering, make, parent):
    from segprune.tracking.contract import RunStart

    tracking = make(uri=answering)
    with pytest.raises(
        TrackingError, match=r"HTTP 40[13].*MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    ):
        tracking.open(RunStart(name="x", kind="job", folder=tracking.root, parent_run_id=parent))


def test_a_local_store_has_no_log_in():
    error = store_error(MlflowException("no", PERMISSION_DENIED), "sqlite:////a/mlflow.db")
    assert "MLFLOW_TRACKING_USERNAME" not in str(error)
    assert "make ui" not in str(error)  # it is the local store


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is a text file and no database at all" * 50)
    with pytest.raises(
        TrackingError, match=r"mlflow.db cannot be used: file is not a database; move it away"
    ):
        open_client(sqlite_uri(tmp_path))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"file/mlflow.db cannot be used: .*another tracking.root"):
        open_client(sqlite_uri(tmp_path / "file"))


def test_a_store_of_another_version_is_told_to_be_upgraded(tmp_path, root, make):
    open_client(sqlite_uri(root))
    with (
        closing(sqlite3.connect(root / "mlflow.db")) as old,
        closing(sqlite3.connect(tmp_path / "mlflow.db")) as new,
    ):
        old.backup(new)
        new.execute("update alembic_version set version_num = '451aebb31d03'")
        new.commit()
    with pytest.raises(TrackingError, match=rf"mlflow db upgrade sqlite:///{tmp_path}/mlflow.db"):
        open_client(sqlite_uri(tmp_path))


def test_a_lock_that_is_never_released_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.05)
    with FileLock(tmp_path / "mlflow.db.lock"), pytest.raises(TrackingError, match=r"mlflow.db.lock is held"):
        open_client(sqlite_uri(tmp_path))


def test_what_the_user_has_set_for_mlflow_stays(monkeypatch, root):
    import os

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    open_client(sqlite_uri(root))
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"
    assert os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "1"
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ  # for servers only
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_what_may_pass_is_told_from_what_will_not():
    assert isinstance(store_error(MlflowException("out"), "http://host"), UnreachableError)
    for error in (MlflowException("no", PERMISSION_DENIED), MlflowException("no", INVALID_PARAMETER_VALUE)):
        assert not isinstance(store_error(error, "http://host"), UnreachableError)


@pytest.mark.slow
def test_making_the_tables_is_no_news_and_warnings_are(tmp_path):
    code = (
        "import logging\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "from pathlib import Path\n"
        "from segprune.tracking.store import open_client, sqlite_uri\n"
        f"open_client(sqlite_uri(Path({str(tmp_path)!r}))).search_experiments()\n"
        "logging.getLogger('mlflow.store.db.utils').info('still heard')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    assert "database tables" not in said
    assert "alembic" not in said
    assert "still heard" in said
