import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from segprune import status
from segprune.errors import StoreError
from segprune.store.inventory import damage_of, is_locked, references, remove, scan
from segprune.store.store import Store, lock_of

KEYS = [digit * 16 for digit in "0123456789abcdef"]


def filled(root: Path) -> Path:
    """A store with two results, and one of each kind of what else may be beside them; every file has 3 bytes."""
    for stage, key in (("train", KEYS[0]), ("prune", KEYS[1])):
        Store(root=root, reuse=True).get(stage, key, lambda folder: (folder / "value").write_text("abc"))
        (root / stage / key / "manifest.json").unlink()
    for name in (f"{KEYS[2]}.partial", f"{KEYS[3]}.damaged-1", f"{KEYS[3]}.removed-12"):
        (root / "train" / name / "figures").mkdir(parents=True)
        (root / "train" / name / "figures" / "value").write_text("abc")
    return root


def test_every_folder_of_the_store_is_told_apart_and_others_are_not_seen(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "train" / "my best run").mkdir()
    (tmp_path / "train" / "0123").mkdir()
    (tmp_path / "train" / f"{KEYS[4]}.old").mkdir()
    (tmp_path / "train" / KEYS[5]).write_text("a file")
    assert {one.name: one.state for one in scan(tmp_path)} == {
        f"train/{KEYS[0]}": "finished",
        f"prune/{KEYS[1]}": "finished",
        f"train/{KEYS[2]}.partial": "unfinished",
        f"train/{KEYS[3]}.damaged-1": "damaged",
        f"train/{KEYS[3]}.removed-12": "left over",
    }
    assert {one.size for one in scan(tmp_path)} == {3}


def test_the_age_is_that_of_the_folder(tmp_path: Path) -> None:
    folder = filled(tmp_path) / "train" / KEYS[0]
    then = folder.stat().st_mtime - 3 * 86400
    os.utime(folder, (then, then))
    (one,) = (one for one in scan(tmp_path) if one.folder == folder)
    assert 3 <= one.age_days < 4


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing is no folder; give the one .* with --store"):
        list(scan(tmp_path / "missing"))


def test_a_file_that_cannot_be_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    Store(root=tmp_path, reuse=True).get("train", KEYS[0], lambda folder: None)
    (one,) = scan(tmp_path)
    assert damage_of(one) == ""
    monkeypatch.setattr(Path, "read_bytes", refuses)
    assert damage_of(one).endswith("manifest.json cannot be read: Permission denied")


def test_only_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    folder = filled(tmp_path) / "train" / KEYS[0]
    with lock_of(folder).acquire(timeout=0):
        assert is_locked(folder)
        assert not remove(folder)
        assert (folder / "value").exists()
    assert not is_locked(folder)
    assert remove(folder)
    assert not folder.exists()
    assert remove(folder)
    assert not is_locked(tmp_path / "train" / KEYS[9])
    assert not (tmp_path / "train" / f"{KEYS[9]}.lock").exists()


def test_a_removal_that_is_interrupted_leaves_no_half_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(path: Path) -> None:
        raise KeyboardInterrupt

    folder = filled(tmp_path) / "train" / KEYS[0]
    monkeypatch.setattr(shutil, "rmtree", stops)
    with pytest.raises(KeyboardInterrupt):
        remove(folder)
    assert not folder.exists()
    assert folder.with_name(f"{KEYS[0]}.removed-1").exists()


def record(folder: Path, **values: object) -> None:
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps(values))


def test_runs_and_jobs_name_what_they_used(tmp_path: Path) -> None:
    record(tmp_path / "runs" / "day" / "time", status="done", entries=[f"train/{KEYS[0]}", f"eval/{KEYS[1]}"])
    # from before there were entries
    record(tmp_path / "sweeps" / "x" / "0", status="done", rows=[{"fingerprint": f"{KEYS[3]}-raw"}])
    record(tmp_path / "elsewhere", status="done", entries=[f"train/{KEYS[4]}"])
    assert references(tmp_path) == {KEYS[0], KEYS[1], KEYS[3]}


def test_what_a_run_started_from_or_was_taught_by_is_named(tmp_path: Path) -> None:
    record(tmp_path / "runs" / "a", status="done", entries=[f"finetune/{KEYS[0]}"])
    store = tmp_path / "store"
    config = {
        "checkpoint": f"{store}/train/{KEYS[1]}{KEYS[2][:8]}",
        "teacher": {"checkpoint": [f"{store}/train/{KEYS[3]}", f"{store}/train/{KEYS[4]}/"]},
        "baseline": f"{store}/export/{KEYS[5]}/net.onnx",
        "model": {"checkpoint": f"/{KEYS[6]}0/{KEYS[7]}.pth"},  # no entry is called so
    }
    origin = {"config": config, "overrides": [f'checkpoint="store/train/{KEYS[8]}"']}
    (tmp_path / "runs" / "a" / "origin.json").write_text(json.dumps(origin))
    named = {KEYS[0], f"{KEYS[1]}{KEYS[2][:8]}", *KEYS[3:6], KEYS[8]}
    assert references(tmp_path) == named


@pytest.mark.parametrize("end", ["failed", "killed", "by the system"])
def test_what_a_run_used_is_wanted_however_it_ended(tmp_path: Path, end: str) -> None:
    folder = tmp_path / "sweeps" / "day" / "time" / "3"
    folder.mkdir(parents=True)
    run = status.JobRecord(folder, {})
    run.uses(tmp_path / "store", f"train/{KEYS[0]}")
    run.uses(tmp_path / "store", f"prune/{KEYS[1]}")
    if end == "failed":
        run.failed("no memory")
    elif end == "killed":
        run.killed()
    del run  # the system takes the lock of a process that is no more
    assert references(tmp_path) == set(KEYS[:2])


def test_without_anything_named_nothing_is_called_unnamed(tmp_path: Path) -> None:
    record(tmp_path / "runs" / "a", status="killed")
    with pytest.raises(
        StoreError, match=r"runs or .*sweeps names an entry.*Give the folder .* with --outputs"
    ):
        references(tmp_path)


@pytest.mark.parametrize("word", ["starting", "running"])
def test_a_run_that_goes_on_has_not_said_yet_what_it_needs(tmp_path: Path, word: str) -> None:
    record(tmp_path / "runs" / "a", status="done", entries=[f"train/{KEYS[0]}"])
    record(tmp_path / "runs" / "b", status=word, host="another machine")
    with pytest.raises(StoreError, match=r"the run of .*b/status\.json is still going on"):
        references(tmp_path)


def test_a_run_that_died_does_not_stand_in_the_way(tmp_path: Path) -> None:
    record(tmp_path / "runs" / "a", status="done", entries=[f"train/{KEYS[0]}"])
    record(tmp_path / "runs" / "b", status="running", host=platform.node())  # and nobody holds its lock
    assert references(tmp_path) == {KEYS[0]}


@pytest.mark.parametrize(
    "values", [[], {"entries": 3}, {"entries": ["train"]}, {"rows": [{}]}, {"rows": [3]}, {"entries": [None]}]
)
def test_a_record_that_cannot_be_understood_is_named(tmp_path: Path, values: Mapping[str, object]) -> None:
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps(values))
    with pytest.raises(StoreError, match=r"a/status\.json cannot be read .*repair or remove it"):
        references(tmp_path)
    (folder / "status.json").write_text("{")
    with pytest.raises(StoreError, match=r"a/status\.json cannot be read .*repair or remove it"):
        references(tmp_path)
