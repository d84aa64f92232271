import json
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from segprune.errors import TrackingError
from segprune.tracking.journal import FOLDER, Journal, journals
from segprune.tracking.record import Record

PARAMS, MORE = (Record(kind="params", content={"a": value}) for value in "12")
END = Record(kind="end", content={"status": "FINISHED", "time_ms": 5})


def journal_in(folder, name="r1"):
    return Journal(folder / FOLDER / f"{name}.jsonl", "http://host:5000")


def left(journal):
    """What another process finds when the one that wrote this is gone."""
    journal._lock.release()
    return Journal(journal.path)


@contextmanager
def files_of_at_most(size):
    """The disk refuses what would make a file larger, and takes the part that has room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_logged_is_found_in_order_with_its_store(tmp_path):
    journal = journal_in(tmp_path)
    journal.add([Record(kind="metrics", content={"points": [["a", 1.5, 10, 3]]})])
    journal.add([PARAMS, END])
    found = left(journal)
    assert [record.kind for record in found.waiting] == ["metrics", "params", "end"]
    assert found.waiting[1:] == [PARAMS, END]
    assert (found.uri, found.last_kind) == ("http://host:5000", "end")
    assert found.last_ms == int(journal.path.stat().st_mtime * 1000)


def test_content_named_like_a_part_of_the_line_arrives(tmp_path):
    tags = Record(kind="tags", content={"kind": "job", "uri": "x", "content": "y", "count": "1"})
    journal = journal_in(tmp_path)
    journal.add([tags])
    assert left(journal).waiting == [tags]


def test_what_the_store_has_is_not_found_again(tmp_path):
    journal = journal_in(tmp_path)
    journal.add([PARAMS, MORE])
    journal.run_id = "the-id"
    journal.sent(1)
    journal.add([END])
    found = left(journal)
    assert (found.waiting, found.run_id) == ([MORE, END], "the-id")
    found.sent(1)
    assert left(found).waiting == [END]


@pytest.mark.parametrize("torn", [b'{"kind": "par', b"\0" * 40, b"\0" * 40 + b'\n{"kind": "tags"}\n'])
def test_a_line_that_a_crash_cut_short_is_left_out_and_breaks_none_after_it(tmp_path, torn):
    journal = journal_in(tmp_path)
    journal.add([PARAMS])
    with journal.path.open("ab") as file:
        file.write(torn)
    found = left(journal)
    assert found.waiting == [PARAMS]
    found.add([END])
    assert left(found).waiting == [PARAMS, END]


def test_a_copy_and_a_journal_are_on_the_disk_when_they_have_to_be(tmp_path, monkeypatch):
    (tmp_path / "x.txt").write_text("x")
    journal, synced = journal_in(tmp_path), []
    monkeypatch.setattr("segprune.durable.sync", synced.append)
    path = journal.path.parent / journal.keep(tmp_path / "x.txt")
    journal.add([PARAMS])
    assert synced == [path]
    journal.sync()
    assert synced == [path, journal.path]


def test_one_process_at_a_time_has_it(tmp_path):
    journal = journal_in(tmp_path)
    journal.add([PARAMS])
    with pytest.raises(TrackingError, match=r"r1.jsonl is in use by another process; wait for its end"):
        journal_in(tmp_path)
    journal.close()
    assert journal_in(tmp_path).waiting == [PARAMS]


def test_when_the_store_has_all_nothing_stays_but_other_runs(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    first, second = journal_in(tmp_path, "r1"), journal_in(tmp_path, "r2")
    for journal in (first, second):
        journal.add(
            [Record(kind="artifact", content={"path": journal.keep(tmp_path / "x.txt"), "folder": ""})]
        )
        assert (journal.path.parent / journal.waiting[0].content["path"]).read_text() == "x"
    for journal, others in ((first, [second.path]), (second, [])):
        journal.sent(1)
        assert not journal.path.with_suffix("").exists()
        journal.close()
        assert journals(tmp_path) == others
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_a_copy_stays_as_long_as_its_record_waits(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    journal = journal_in(tmp_path)
    for _ in range(2):
        content = {"path": journal.keep(tmp_path / "x.txt"), "folder": ""}
        journal.add([Record(kind="artifact", content=content)])
    journal.sent(1)
    assert (journal.path.parent / journal.waiting[0].content["path"]).read_text() == "x"


def test_a_journal_without_a_record_leaves_nothing(tmp_path):
    journal_in(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_artifacts_survive_their_originals_and_a_move_and_two_may_share_a_name(tmp_path):
    (tmp_path / "run").mkdir()
    journal = journal_in(tmp_path / "run")
    for text in ("a", "b"):
        (tmp_path / "x.txt").write_text(text)
        content = {"path": journal.keep(tmp_path / "x.txt"), "folder": "eval"}
        journal.add([Record(kind="artifact", content=content)])
    (tmp_path / "x.txt").unlink()
    journal._lock.release()
    (tmp_path / "run").rename(tmp_path / "moved")
    (path,) = journals(tmp_path)
    paths = [path.parent / record.content["path"] for record in Journal(path).waiting]
    assert [path.read_text() for path in paths] == ["a", "b"]
    assert {path.name for path in paths} == {"x.txt"}


def test_what_is_refused_is_put_aside_with_its_reason(tmp_path):
    journal = journal_in(tmp_path)
    journal.add([PARAMS])
    journal.refuse([PARAMS], "changed at http://me:pw@host")
    journal.sent(1)
    journal.close()
    (path,) = (tmp_path / FOLDER).iterdir()
    assert path.name == "r1.refused.jsonl"
    assert json.loads(path.read_text()) == {
        "reason": "changed at http://***@host", "kind": "params", "content": {"a": "1"},
    }  # fmt: skip
    assert journals(tmp_path) == []


def test_what_an_earlier_version_left_is_read(tmp_path):
    folder = tmp_path / "tracking_spool"
    folder.mkdir()
    lines = [
        {"run_id": "r1", "uri": "http://host"},
        {"kind": "params", "a": "1"},
        {"kind": "artifact", "path": "r1/0/x.txt", "folder": "eval"},
    ]
    (folder / "r1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path,) = journals(tmp_path)
    found = Journal(path)
    assert found.uri == "http://host"
    assert found.waiting == [
        PARAMS,
        Record(kind="artifact", content={"path": "r1/0/x.txt", "folder": "eval"}),
    ]


def test_what_a_full_disk_does_not_take_is_kept_in_memory_told_once_and_written_later(tmp_path, caplog):
    journal = journal_in(tmp_path)
    journal.add([PARAMS])
    with files_of_at_most(journal.path.stat().st_size + 10):  # room for part of a line
        journal.add([MORE])
        journal.add([END])
    assert [message for message in caplog.messages if "in memory only" in message] == caplog.messages[:1]
    assert len(caplog.messages) == 1
    assert "File too large" in caplog.text
    assert journal.waiting == [PARAMS, MORE, END]
    journal.sent(1)  # there is room again
    assert left(journal).waiting == [MORE, END]


def test_what_a_process_that_died_on_a_full_disk_had_written_is_found(tmp_path):
    journal = journal_in(tmp_path)
    journal.add([PARAMS])
    with files_of_at_most(journal.path.stat().st_size + 10):
        journal.add([MORE])
    assert left(journal).waiting == [PARAMS]


def test_a_file_that_the_disk_cannot_copy_is_sent_from_where_it_is(tmp_path):
    source = tmp_path / "x.bin"
    source.write_bytes(b"x" * 2000)
    journal = journal_in(tmp_path)
    with files_of_at_most(1000):
        assert Path(journal.keep(source)) == source
    assert not list((tmp_path / FOLDER).rglob("x.bin"))


def test_a_folder_that_cannot_be_made_keeps_all_in_memory_and_a_loss_is_told(
    tmp_path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("")
    journal = journal_in(tmp_path / "file")
    journal.add([PARAMS])
    journal.sync()
    assert journal.waiting == [PARAMS]
    journal.close()
    assert (
        f"Tracking records of {journal.path} are lost: neither the disk nor MLflow takes them." in caplog.text
    )
