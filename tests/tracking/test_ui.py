import os
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from segprune.errors import TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.ui import command, is_loopback, leaderboards, main, require_free
from tests.tracking.conftest import free_port


def test_before_the_first_run_it_says_what_to_do(tmp_path):
    with pytest.raises(TrackingError, match=r"mlflow.db does not exist yet: run something first"):
        leaderboards(tmp_path, "http://host")


def test_a_file_that_is_no_store_is_told(tmp_path):
    (tmp_path / "mlflow.db").write_text("text" * 500)
    with pytest.raises(TrackingError, match=r"mlflow.db is not an MLflow store .*move it away"):
        leaderboards(tmp_path, "http://host")


def test_each_experiment_has_a_link_to_its_leaderboard(make, root, tmp_path, client):
    tracking = make()
    tracking.open(RunStart(name="x", kind="job", folder=tmp_path)).close("FINISHED")
    number = client.get_experiment_by_name(tracking.experiment).experiment_id
    lines = leaderboards(root, "http://127.0.0.1:5000")
    (line,) = [line for line in lines if tracking.experiment in line]
    assert f"http://127.0.0.1:5000/#/experiments/{number}/runs?" in line
    assert not [line for line in lines if "Default" in line]


def test_a_port_in_use_is_told_with_another_one():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError, match=rf"port {port} of 127.0.0.1 is in use: .*PORT={port + 1}"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", free_port())


def test_a_port_that_cannot_be_listened_on_is_told():
    with pytest.raises(TrackingError, match=r"port 5000 of 192.0.2.1 cannot be used"):
        require_free("192.0.2.1", 5000)


def test_files_are_written_past_the_server_only_where_that_is_possible(tmp_path):
    local = command(f"sqlite:///{tmp_path}/mlflow.db", "127.0.0.1", 5000)
    remote = command(f"sqlite:///{tmp_path}/mlflow.db", "0.0.0.0", 5000)
    assert f"file://{tmp_path}/mlartifacts" in local
    assert "--default-artifact-root" in local
    assert "--default-artifact-root" not in remote
    assert local[local.index("--workers") + 1] == "1"


@pytest.mark.parametrize(
    ("host", "is_local"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_loopback_is_known(host, is_local):
    assert is_loopback(host) == is_local


def test_only_a_sqlite_store_is_served():
    with pytest.raises(TrackingError, match="http://host is not a SQLite store"):
        command("http://host", "127.0.0.1", 5000)


def test_the_command_exits_with_the_reason(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "segprune.tracking.ui", "--outputs", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"segprune: {tmp_path}/mlflow.db does not exist yet")


def test_the_command_becomes_the_server_and_prints_the_links(make, root, tmp_path, monkeypatch, capsys):
    make().open(RunStart(name="x", kind="job", folder=tmp_path)).close("FINISHED")
    became = []
    monkeypatch.setattr(os, "execvpe", lambda *arguments: became.append(arguments))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    port = free_port()
    main(["--outputs", str(root), "--port", str(port)])
    ((program, line, environment),) = became
    assert (program, line[:4]) == (sys.executable, [sys.executable, "-m", "mlflow", "server"])
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "false"  # the user's word stands
    assert f"http://127.0.0.1:{port}/#/experiments/" in capsys.readouterr().out
