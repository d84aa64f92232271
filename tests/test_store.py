import json
from pathlib import Path

import pytest

from segprune.store import Store, fingerprint


def store(folder: Path, *, reuse: bool = True) -> Store:
    return Store(root=folder, reuse=reuse)


def writes(text: str):
    return lambda folder: (folder / "value").write_text(text)


def test_a_result_is_made_once(tmp_path: Path) -> None:
    first = store(tmp_path).get("train", "k", writes("one"))
    second = store(tmp_path).get("train", "k", writes("two"))
    assert ((first.folder / "value").read_text(), first.was_reused) == ("one", False)
    assert ((second.folder / "value").read_text(), second.was_reused) == ("one", True)


def test_reuse_off_makes_it_again_but_once_per_run(tmp_path: Path) -> None:
    store(tmp_path).get("train", "k", writes("old"))
    fresh = store(tmp_path, reuse=False)
    assert not fresh.get("train", "k", writes("new")).was_reused
    assert fresh.get("train", "k", writes("newer")).was_reused
    assert (tmp_path / "train" / "k" / "value").read_text() == "new"


def test_an_interrupted_result_is_not_a_result_and_is_handed_back(tmp_path: Path) -> None:
    def stops(folder: Path) -> None:
        (folder / "half").write_text("way")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path).get("train", "k", stops)
    assert not (tmp_path / "train" / "k").exists()
    seen = []
    entry = store(tmp_path).get("train", "k", lambda folder: seen.extend(p.name for p in folder.iterdir()))
    assert seen == ["half"]
    assert not entry.was_reused


def test_fingerprints_depend_on_every_input_and_on_nothing_else() -> None:
    base = {"seed": 0, "schedule": {"epochs": 3, "lr": 0.1}}
    same = {"schedule": {"lr": 0.1, "epochs": 3}, "seed": 0}
    others = [{**base, "seed": 1}, {**base, "schedule": {"epochs": 4, "lr": 0.1}}, {**base, "more": None}]
    keys = [
        fingerprint("train", base),
        fingerprint("finetune", base),
        *(fingerprint("train", o) for o in others),
    ]
    assert fingerprint("train", same) == keys[0]
    assert len(set(keys)) == len(keys)
    assert json.dumps(keys[0]).isascii()
    assert len(keys[0]) == 16
