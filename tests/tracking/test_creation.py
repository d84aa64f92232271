import pytest

from segprune.errors import TrackingError
from segprune.tracking.contract import RunStart
from segprune.tracking.creation import create, creation, find, is_key, key_of
from segprune.tracking.store import open_client, sqlite_uri


def start(folder, **options):
    return RunStart(name="x", kind="job", folder=folder, **options)


def test_a_run_is_found_by_its_key_also_when_it_was_deleted(make, root, tmp_path):
    client, uri = open_client(sqlite_uri(root)), sqlite_uri(root)
    record = creation(start(tmp_path), make().experiment)
    assert find(client, key_of(record)) is None
    _, run_id = create(client, uri, record)
    assert find(client, key_of(record)) == run_id
    assert client.get_run(run_id).info.start_time == record.content["time_ms"]
    client.delete_run(run_id)
    assert find(client, key_of(record)) == run_id


def test_each_run_has_its_own_key_and_a_key_is_no_id(tmp_path):
    keys = [key_of(creation(start(tmp_path), "e")) for _ in range(2)]
    assert len(set(keys)) == 2
    assert [is_key(name) for name in (*keys, "0" * 32)] == [True, True, False]


def test_nothing_a_run_starts_with_holds_a_password(tmp_path):
    url = "http://me:secret@host"
    record = creation(
        RunStart(name=url, kind="sweep", folder=tmp_path, note=url, tags={"sweep.overrides": f"uri={url}"}),
        "e",
    )
    assert "secret" not in str(record)
    assert record.content["tags"]["sweep.overrides"] == "uri=http://***@host"


def test_a_bad_tag_is_refused(tmp_path):
    with pytest.raises(TrackingError, match="'a%' cannot name"):
        creation(start(tmp_path, tags={"a%": "1"}), "e")
