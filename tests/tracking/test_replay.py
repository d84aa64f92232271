import pytest

from segprune.errors import TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.record import Record
from segprune.tracking.replay import main, replay
from segprune.tracking.spool import Spool
from segprune.tracking.store import sqlite_uri
from tests.tracking.conftest import free_port

END = Record(kind="end", content={"status": "FAILED", "time_ms": 1})


def kept(make, root, folder):
    """A run that is still open in the store, whose end waits on disk."""
    run = make().open(RunStart(name="x", kind="job", folder=folder))
    Spool(folder=folder, run_id=run.run_id, uri=sqlite_uri(root)).keep([END])
    return run.run_id


def test_all_that_waits_below_a_folder_is_sent(make, root, client, tmp_path):
    ids = [kept(make, root, tmp_path / name) for name in ("a", "b/c")]
    assert replay(tmp_path, None) == 0
    assert [client.get_run(run_id).info.status for run_id in ids] == ["FAILED", "FAILED"]
    assert not list(tmp_path.rglob("tracking_spool"))


def test_nothing_to_send_asks_no_store(tmp_path):
    assert replay(tmp_path, "http://127.0.0.1:9") == 0


def test_credentials_come_from_outside_for_the_same_store_only(monkeypatch, tmp_path):
    asked = []

    def opened(uri):
        asked.append(uri)
        raise TrackingError("enough")

    monkeypatch.setattr("segprune.tracking.replay.open_client", opened)
    Spool(folder=tmp_path, run_id="r", uri="http://host:1").keep([END])
    for uri in ("http://me:secret@host:1", "http://me:secret@other:1", None):
        with pytest.raises(TrackingError, match="enough"):
            replay(tmp_path, uri)
    assert asked == ["http://me:secret@host:1", "http://host:1", "http://host:1"]


def test_the_command_says_by_its_exit_code_whether_all_is_sent(make, root, tmp_path, caplog):
    kept(make, root, tmp_path / "a")
    assert main([str(tmp_path)]) == 0
    gone = f"http://127.0.0.1:{free_port()}"
    Spool(folder=tmp_path / "b", run_id="r", uri=gone).keep([END])
    assert main([str(tmp_path)]) == 1
    assert f"no MLflow server answers at {gone}" in caplog.text
