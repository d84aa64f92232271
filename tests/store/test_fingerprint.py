import copy
import hashlib
import json
import os
from pathlib import Path

import pytest

from segprune.store.fingerprint import SCHEMA, TASK_DIGITS, digests, fingerprint


def test_fingerprints_depend_on_every_input_and_on_nothing_else() -> None:
    base = {"seed": 0, "schedule": {"epochs": 3, "lr": 0.1}}
    same = {"schedule": {"lr": 0.1, "epochs": 3}, "seed": 0}
    others = [{**base, "seed": 1}, {**base, "schedule": {"epochs": 4, "lr": 0.1}}, {**base, "more": None}]
    others += [{**base, "code": {"training": "a"}}, {**base, "libraries": {"torch": "2.9.0"}}]
    keys = [
        fingerprint("train", base),
        fingerprint("finetune", base),
        *(fingerprint("train", other) for other in others),
    ]
    assert fingerprint("train", same) == keys[0]
    assert len(set(keys)) == len(keys)
    assert json.dumps(keys[0]).isascii()
    assert len(keys[0]) == 24


def test_results_of_the_same_inputs_begin_alike_whoever_made_them_and_no_others_do() -> None:
    def key(seed: int, **made_by: object) -> str:
        return fingerprint("train", {"seed": seed, **made_by})

    same = [
        key(0),
        key(0, code={"training": "a"}),
        key(0, code={"training": "b"}, libraries={"torch": "2.9"}),
        key(0, code={"training": "b"}, libraries={"torch": "2.9"}, gpu={"name": "A100"}),
    ]
    assert len({one[:TASK_DIGITS] for one in same}) == 1
    assert len({one[TASK_DIGITS:] for one in same}) == 4
    assert key(1)[:TASK_DIGITS] != key(0)[:TASK_DIGITS]
    assert key(1, code={"training": "a"})[TASK_DIGITS:] == same[1][TASK_DIGITS:]


def test_a_fingerprint_remembers_what_it_is_of() -> None:
    assert copy.deepcopy(fingerprint("train", {"seed": 3})).inputs == {"seed": 3}


def test_a_raised_schema_gives_every_result_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("train", {"seed": 3})
    monkeypatch.setattr("segprune.store.fingerprint.SCHEMA", SCHEMA + 1)
    assert fingerprint("train", {"seed": 3})[:TASK_DIGITS] != before[:TASK_DIGITS]


def test_files_count_by_their_content_wherever_they_are_named(tmp_path: Path) -> None:
    file, other = tmp_path / "weights.pth", tmp_path / "folder" / "table.txt"
    other.parent.mkdir()
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    node = {"a": {"b": ["none", str(file)]}, "path": file, "folder": str(other.parent), "n": 3, "odd": "a\0b"}
    found = digests(node)
    assert list(found) == ["a.b.1", "path", "folder"]
    assert found["a.b.1"] == found["path"] == hashlib.sha256(b"one").hexdigest()
    other.write_bytes(b"new")
    assert digests(node)["folder"] != found["folder"]
    dates = file.stat()
    file.write_bytes(b"six")
    os.utime(file, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert digests(node)["path"] == hashlib.sha256(b"six").hexdigest()
