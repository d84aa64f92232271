import pytest

from segprune.tracking.hint import url_hint
from segprune.tracking.store import sqlite_uri


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("outputs", "make ui"),
        ("elsewhere", "segprune ui --outputs {}/elsewhere"),
        ("a b/outputs", "segprune ui --outputs '{}/a b/outputs'"),
    ],
)
def test_the_command_serves_the_folder_that_was_written(folder, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hint = url_hint(sqlite_uri(tmp_path / folder), "/#/x")
    assert hint == f"{command.format(tmp_path)}, then http://127.0.0.1:5000/#/x"


def test_a_database_of_another_name_is_served_by_mlflow_itself():
    assert url_hint("sqlite:////a/runs.db", "/#/x").startswith(
        "mlflow server --backend-store-uri sqlite:////a/runs.db, then http://"
    )


def test_a_server_is_there_already_and_its_password_is_not_shown():
    assert url_hint("https://me:pw@host:1", "/#/x") == "https://host:1/#/x"


def test_the_password_of_a_database_is_not_shown():
    hint = url_hint("postgresql://me:pw@host/runs", "/#/x")
    assert hint.startswith("mlflow server --backend-store-uri postgresql://host/runs, then http://")
