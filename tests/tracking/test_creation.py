import pytest

from segprune.errors import TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.creation import begin, beginning, new_key
from segprune.tracking.record import Record
from segprune.tracking.store import open_client, sqlite_uri

KEY = new_key()


def start(folder, **options):
    return RunStart(name="x", kind="job", folder=folder, **options)


@pytest.fixture
def store(root):
    uri = sqlite_uri(root)
    return open_client(uri), uri


def test_a_creation_that_is_sent_twice_creates_once_and_others_find_the_run(make, store, tmp_path):
    client, key = store[0], new_key()
    record = beginning(start(tmp_path), key, make().experiment)
    experiment_id, run_id = begin(*store, key, record, is_first_try=True)
    assert client.get_run(run_id).info.experiment_id == experiment_id
    assert client.get_run(run_id).info.start_time == record.content["time_ms"]
    for other in (record, Record(kind="tags", content={"a": "b"})):
        assert begin(*store, key, other, is_first_try=False) == (experiment_id, run_id)
    client.delete_run(run_id)
    assert begin(*store, key, record, is_first_try=False) == (experiment_id, run_id)


def test_without_its_creation_a_run_is_waited_for(store):
    with pytest.raises(TrackingError, match=f"the run {KEY} is not in MLflow at this time"):
        begin(*store, KEY, Record(kind="tags", content={"a": "b"}), is_first_try=False)


def test_each_run_has_its_own_key():
    assert new_key() != new_key()


def test_nothing_a_run_starts_with_holds_a_password(tmp_path):
    url = "http://me:secret@host"
    tags = {"sweep.overrides": f"uri={url}"}
    record = beginning(RunStart(name=url, kind="sweep", folder=tmp_path, note=url, tags=tags), KEY, "e")
    assert "secret" not in str(record)
    assert record.content["tags"]["sweep.overrides"] == "uri=http://***@host"


def test_a_bad_tag_is_refused(tmp_path):
    with pytest.raises(TrackingError, match="'a%' cannot name"):
        beginning(start(tmp_path, tags={"a%": "1"}), KEY, "e")
