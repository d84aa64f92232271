import json

import pytest

from segprune.errors import TrackingError
from segprune.tracking import replay as room
from segprune.tracking.contract import RunStart
from segprune.tracking.failure import UnreachableError
from segprune.tracking.journal import FOLDER, Journal, journals
from segprune.tracking.record import Record
from segprune.tracking.replay import main, replay
from segprune.tracking.store import sqlite_uri
from tests.tracking.conftest import free_port
from tests.tracking.sample_job import left_alone

END = Record(kind="end", content={"status": "FAILED", "time_ms": 1})


def kept(folder, uri, *records):
    """What a process that ended has left."""
    journal = Journal(folder / FOLDER / "r.jsonl", uri)
    journal.add(records)
    journal.close()


def of_an_open_run(make, folder, *records):
    run = make().open(RunStart(name="x", kind="job", folder=folder))
    run.sender.journal.add(records)
    left_alone(run)
    return run.run_id


def test_all_that_waits_below_a_folder_is_sent(make, client, tmp_path):
    ids = [of_an_open_run(make, tmp_path / name, END) for name in ("a", "b/c")]
    assert replay(tmp_path, None) == 0
    assert [client.get_run(run_id).info.end_time for run_id in ids] == [1, 1]
    assert not list(tmp_path.rglob(FOLDER))


def test_a_run_whose_process_died_is_ended_with_the_time_of_its_last_sign(make, client, tmp_path):
    run = make().open(RunStart(name="x", kind="job", folder=tmp_path))
    run.metrics({"a": 1.0})
    path = run.sender.journal.path
    seen = int(path.stat().st_mtime * 1000)
    left_alone(run)
    assert replay(tmp_path, None) == 0
    ended = client.get_run(run.run_id)
    assert (ended.info.status, ended.info.end_time, ended.data.metrics) == ("KILLED", seen, {"a": 1.0})


def test_a_run_that_goes_on_is_left_alone(make, client, tmp_path):
    run = make().open(RunStart(name="x", kind="job", folder=tmp_path))
    run.metrics({"a": 1.0})
    assert replay(tmp_path, None) == 0
    assert client.get_run(run.run_id).info.status == "RUNNING"
    assert client.get_run(run.run_id).data.metrics == {}
    run.close("FINISHED")
    assert client.get_run(run.run_id).data.metrics == {"a": 1.0}


@pytest.mark.parametrize("text", ["", '{"run_id"', '{"run_id": "r", "uri": "http://127.0.0.1:9"}\n'])
def test_a_journal_that_was_begun_and_no_more_leaves_nothing(tmp_path, text):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "r.jsonl").write_text(text)
    assert replay(tmp_path, None) == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_send_asks_no_store(tmp_path):
    assert replay(tmp_path, "http://127.0.0.1:9") == 0
    assert replay(tmp_path / "no such folder", "http://127.0.0.1:9") == 0


def test_what_an_earlier_version_left_is_sent(make, client, root, tmp_path):
    """Its run may not have been created yet, or have got an id before the store was out again."""
    experiment = make().experiment
    create = {"experiment": experiment, "name": "x", "time_ms": 5, "tags": {"segprune.key": "unsent-1"}}
    head = {"run_id": "unsent-1", "uri": sqlite_uri(root)}
    for records in (
        [{"kind": "create", **create}, {"kind": "params", "ratio": "0.3"}],
        [
            {"kind": "artifact", "path": "unsent-1/0/x.txt", "folder": "eval"},
            {"kind": "end", "status": "FINISHED", "time_ms": 9},
        ],
    ):
        (tmp_path / "tracking_spool/unsent-1/0").mkdir(parents=True)
        (tmp_path / "tracking_spool/unsent-1/0/x.txt").write_text("x")
        lines = "".join(json.dumps(line) + "\n" for line in [head, *records])
        (tmp_path / "tracking_spool/unsent-1.jsonl").write_text(lines)
        assert replay(tmp_path, None) == 0
    assert list(tmp_path.iterdir()) == []
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert (run.info.start_time, run.info.end_time, run.info.status) == (5, 9, "FINISHED")
    assert run.data.params == {"ratio": "0.3"}
    assert [file.path for file in client.list_artifacts(run.info.run_id, "eval")] == ["eval/x.txt"]


def test_credentials_come_from_outside_for_the_same_store_only(monkeypatch, tmp_path):
    asked = []

    def opened(uri):
        asked.append(uri)
        raise TrackingError("enough")

    monkeypatch.setattr(room, "open_client", opened)
    kept(tmp_path, "http://host:1", END)
    for uri in ("http://me:secret@host:1", "http://me:secret@other:1", None):
        assert replay(tmp_path, uri) == 1
    assert asked == ["http://me:secret@host:1", "http://host:1", "http://host:1"]


def test_a_store_that_was_moved_is_not_made_anew_and_is_sent_to_where_it_is_now(
    make, root, client, tmp_path, caplog
):
    run_id = of_an_open_run(make, tmp_path, END)
    (path,) = journals(tmp_path)
    gone = f"sqlite:///{tmp_path}/old/mlflow.db"
    path.write_text(path.read_text().replace(sqlite_uri(root), gone))
    for other in (None, "http://127.0.0.1:9", f"sqlite:///{tmp_path}/no/such.db"):
        assert replay(tmp_path, other) == 1
    assert (
        f"{gone} does not exist; if it was moved, give its place: MLFLOW_TRACKING_URI=sqlite:////..."
        in caplog.text
    )
    assert not (tmp_path / "old").exists()
    assert replay(tmp_path, sqlite_uri(root)) == 0
    assert client.get_run(run_id).info.status == "FAILED"


def test_a_journal_of_another_user_is_left_to_them(monkeypatch, tmp_path, caplog):
    kept(tmp_path, "http://host:1", END)

    def refuse(self, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(
        "filelock.FileLock.acquire", refuse
    )  # whoever runs the tests may have all permissions
    assert replay(tmp_path, None) == 0
    assert caplog.text == ""


def test_a_store_that_is_out_is_asked_once_and_one_that_refuses_a_run_is_asked_for_the_next(
    monkeypatch, tmp_path, caplog
):
    for number in range(3):
        kept(tmp_path / str(number), "http://host:1", END)
    for error, times in ((UnreachableError("no server"), 1), (TrackingError("deleted"), 3)):
        asked = []

        def opened(uri, error=error, asked=asked):
            asked.append(uri)
            raise error

        monkeypatch.setattr(room, "open_client", opened)
        assert replay(tmp_path, None) == 3
        assert len(asked) == times
    assert f"1 tracking records wait in {tmp_path}/0/{FOLDER}/r.jsonl: no server" in caplog.text


def test_a_journal_that_cannot_be_read_is_told_and_holds_up_no_other(make, client, tmp_path, caplog):
    (tmp_path / "a" / FOLDER / "r.jsonl").mkdir(parents=True)
    run_id = of_an_open_run(make, tmp_path / "b", END)
    assert replay(tmp_path, None) == 1
    assert f"{tmp_path}/a/{FOLDER}/r.jsonl cannot be read: [Errno 21] Is a directory" in caplog.text
    assert client.get_run(run_id).info.status == "FAILED"


def test_the_command_says_by_its_exit_code_whether_all_is_sent(make, tmp_path, caplog):
    of_an_open_run(make, tmp_path / "a", END)
    assert main([str(tmp_path)]) == 0
    gone = f"http://127.0.0.1:{free_port()}"
    kept(tmp_path / "b", gone, END)
    assert main([str(tmp_path)]) == 1
    assert f"no MLflow server answers at {gone}" in caplog.text
