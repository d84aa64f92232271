import json
from pathlib import Path

from segprune.tracking.record import Record
from segprune.tracking.spool import Spool, spools


def spool_in(folder, run_id="r1"):
    return Spool(folder=folder, run_id=run_id, uri="http://host:5000")


def artifact(path, folder=""):
    return Record(kind="artifact", content={"path": str(path), "folder": folder})


def test_what_was_kept_is_loaded_in_order(tmp_path):
    records = [
        Record(kind="metrics", content={"points": [["a", 1.5, 10, 3]]}),
        Record(kind="end", content={"status": "FINISHED", "time_ms": 5}),
    ]
    spool_in(tmp_path).keep(records)
    assert spool_in(tmp_path).load() == records
    assert spools(tmp_path) == [spool_in(tmp_path)]


def test_more_can_be_appended_and_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
    spool = spool_in(tmp_path)
    first, second = (Record(kind="params", content={"a": value}) for value in "12")
    spool.keep([first])
    spool.append([second])
    with spool.path.open("a") as file:
        file.write('{"kind": "par')
    assert spool.load() == [first, second]


def test_nothing_kept_is_an_empty_list(tmp_path):
    assert spool_in(tmp_path).load() == []
    assert spools(tmp_path) == []


def test_artifacts_survive_their_originals_and_two_may_share_a_name(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(name)
    spool_in(tmp_path).keep([artifact(tmp_path / "a/x.txt", "eval"), artifact(tmp_path / "b/x.txt")])
    (tmp_path / "a/x.txt").unlink()
    (tmp_path / "b/x.txt").unlink()
    loaded = spool_in(tmp_path).load()
    assert [Path(record.content["path"]).read_text() for record in loaded] == ["a", "b"]
    assert [record.content["path"].endswith("/x.txt") for record in loaded] == [True, True]
    assert [record.content["folder"] for record in loaded] == ["eval", ""]


def test_keeping_again_does_not_copy_again(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    kept = spool_in(tmp_path).keep([artifact(tmp_path / "x.txt")])
    assert spool_in(tmp_path).keep(kept) == kept
    assert len(list((tmp_path / "tracking_spool").rglob("x.txt"))) == 1


def test_a_moved_output_folder_still_finds_its_artifacts(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "x.txt").write_text("x")
    spool_in(tmp_path / "old").keep([artifact(tmp_path / "x.txt")])
    (tmp_path / "old").rename(tmp_path / "new")
    (record,) = spool_in(tmp_path / "new").load()
    assert Path(record.content["path"]).read_text() == "x"


def test_clearing_leaves_no_trace_but_other_runs(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    spool_in(tmp_path, "r1").keep([artifact(tmp_path / "x.txt")])
    spool_in(tmp_path, "r2").keep([artifact(tmp_path / "x.txt")])
    spool_in(tmp_path, "r1").clear()
    assert [spool.run_id for spool in spools(tmp_path)] == ["r2"]
    spool_in(tmp_path, "r2").clear()
    assert not (tmp_path / "tracking_spool").exists()


def test_what_is_refused_is_put_aside_with_its_reason(tmp_path):
    spool_in(tmp_path).refuse(Record(kind="params", content={"a": "1"}), "changed at http://me:pw@host")
    (line,) = (tmp_path / "tracking_spool/r1.refused.jsonl").read_text().splitlines()
    assert json.loads(line) == {"reason": "changed at http://***@host", "kind": "params", "a": "1"}
    assert spools(tmp_path) == []
