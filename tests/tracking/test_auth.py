"""The tracker against a real ``mlflow server`` that asks for a user name and a password."""

import base64
import json
import os
import urllib.request
from contextlib import closing

import pytest

from segprune.errors import TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.store import open_client
from tests.test_cli import TINY
from tests.tracking.conftest import Server
from tests.tracking.sample_job import assert_the_job_is_there, log_a_job
from tests.warm import run_warm

pytestmark = pytest.mark.slow
ADMIN, READER = ("admin", "the-administrators-word"), ("reader", "the-readers-word")
CONFIG = """
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "auth.ini").write_text(CONFIG.format(folder=folder))
    server = Server(folder)
    server.start(
        *("--app-name", "basic-auth"),
        MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"),
        MLFLOW_AUTH_ADMIN_PASSWORD=ADMIN[1],
        MLFLOW_FLASK_SERVER_SECRET_KEY="a key for this test",
    )
    body = json.dumps(dict(zip(("username", "password"), READER, strict=True))).encode()
    token = base64.b64encode(":".join(ADMIN).encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.uri}/api/2.0/mlflow/users/create", body, headers)
    with closing(urllib.request.urlopen(request)):
        pass
    yield server
    server.kill()


def log_in(monkeypatch, user, password):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def test_a_user_it_knows_logs_all(make, guarded, tmp_path, monkeypatch):
    log_in(monkeypatch, *ADMIN)
    tracking = make(uri=guarded.uri)
    sweep = tracking.open(RunStart(name="sweep", kind="sweep", folder=tmp_path / "sweep"))
    job = log_a_job(tracking, tmp_path / "job", sweep.run_id)
    sweep.close("FINISHED")
    assert_the_job_is_there(open_client(guarded.uri), job.run_id, sweep.run_id)


def test_credentials_in_the_uri_do_as_well(make, guarded, tmp_path):
    uri = guarded.uri.replace("//", f"//{':'.join(ADMIN)}@")
    job = log_a_job(make(uri=uri), tmp_path, None)
    assert open_client(uri).get_run(job.run_id).info.status == "FINISHED"
    assert ADMIN[1] not in job.url_hint


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_wrong_password_or_none_is_refused_with_the_remedy(make, guarded, tmp_path, monkeypatch, password):
    if password:
        log_in(monkeypatch, "admin", password)
    with pytest.raises(
        TrackingError, match=rf"{guarded.uri} refuses the credentials \(HTTP 401: "
    ) as refused:
        make(uri=guarded.uri).open(RunStart(name="x", kind="job", folder=tmp_path))
    said = str(refused.value)
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
    assert said.endswith("or run with tracking=silent")
    assert "\n" not in said


def test_a_user_who_may_only_read_is_told_so(make, guarded, tmp_path, monkeypatch):
    log_in(monkeypatch, *ADMIN)
    tracking = make(uri=guarded.uri)
    tracking.open(RunStart(name="x", kind="job", folder=tmp_path)).close("FINISHED")
    log_in(monkeypatch, *READER)
    with pytest.raises(TrackingError, match=r"HTTP 403: .*a user who may write to this experiment"):
        tracking.open(RunStart(name="y", kind="job", folder=tmp_path))


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_the_command_ends_before_any_work(guarded, tmp_path, flags):
    uri = guarded.uri.replace("//", "//admin:a-wrong-word@")
    environment = {**os.environ, "SEGPRUNE_OUTPUTS": str(tmp_path), "MLFLOW_TRACKING_URI": uri}
    done = run_warm(environment, *flags, *TINY)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"\nsegprune: the MLflow server at {guarded.uri} refuses the credentials (HTTP 401"
    )
    assert done.stderr.strip().count("\n") == 0
    assert "a-wrong-word" not in done.stdout + done.stderr
    assert not (tmp_path / "store").exists()
