import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from segprune import durable
from segprune.store import manifest
from tests.test_durable import ABC


def sealed(folder: Path) -> Path:
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "value").write_bytes(b"abc")
    (folder / "curve.json").write_text("[]")
    (folder / "progress.pt").write_text("only to go on")
    manifest.seal(folder, schema=1, stage="train", fingerprint="k", inputs={"seed": 3, "size": (1, 2)})
    return folder


def damage(folder: Path) -> str:
    return manifest.damage(folder, stage="train", fingerprint="k")


def test_every_file_is_in_the_manifest_but_the_notes_of_the_work(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "k")
    written = json.loads((folder / "manifest.json").read_text())
    assert written["files"].keys() == {"curve.json", "figures/value"}
    assert written["files"]["figures/value"] == {"size": 3, "sha256": ABC}
    assert (written["schema"], written["stage"], written["fingerprint"]) == (1, "train", "k")
    assert written["inputs"] == {"seed": 3, "size": [1, 2]}
    assert written["created"].endswith("+00:00")
    assert damage(folder) == ""


def test_all_files_and_folders_are_on_the_disk_before_the_manifest_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, bool] = {}
    monkeypatch.setattr(
        durable, "sync", lambda path: seen.setdefault(path.name, (tmp_path / "k" / "manifest.json").exists())
    )
    sealed(tmp_path / "k")
    assert seen == {"curve.json": False, "figures": False, "value": False, "k": True}


def test_a_manifest_that_was_interrupted_is_not_in_the_next(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "manifest.json.tmp").write_text("{")
    (tmp_path / "k" / "manifest.json").write_text("{")
    manifest.seal(tmp_path / "k", schema=1, stage="train", fingerprint="k", inputs=None)
    assert json.loads((tmp_path / "k" / "manifest.json").read_text())["files"] == {}
    assert damage(tmp_path / "k") == ""


def replaced(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda folder: (folder / "curve.json").unlink(), "curve.json is missing"),
        (replaced("figures/value", b"ab"), "figures/value has 2 bytes instead of 3"),
        (replaced("figures/value", b"abd"), "figures/value has another content than it was written with"),
        (replaced("manifest.json", b""), "manifest.json is not one: invalid json"),
        (replaced("manifest.json", b"{}"), "manifest.json is not one: field required"),
        (
            replaced("manifest.json", b"[" * 100_000),
            "manifest.json is not one: invalid json: recursion limit",
        ),
    ],
)
def test_damage_is_named(tmp_path: Path, harm: Callable[[Path], object], reason: str) -> None:
    folder = sealed(tmp_path / "k")
    harm(folder)
    assert damage(folder).startswith(reason)


def test_a_folder_under_another_name_is_not_the_result_of_that_name(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "k")
    assert manifest.damage(folder, stage="train", fingerprint="other") == "it is the result train/k"
    assert manifest.damage(folder, stage="prune", fingerprint="k") == "it is the result train/k"


def test_files_of_others_and_links_to_the_right_content_do_no_harm(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "k")
    (folder / "my notes.txt").write_text("best run so far")
    os.replace(folder / "curve.json", tmp_path / "elsewhere")
    (folder / "curve.json").symlink_to(tmp_path / "elsewhere")
    assert damage(folder) == ""


def test_a_manifest_of_a_later_version_may_say_more(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "k")
    written = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**written, "more": 1}))
    assert damage(folder) == ""


def test_a_folder_without_a_manifest_is_not_sealed(tmp_path: Path) -> None:
    assert not manifest.is_sealed(tmp_path)
    assert manifest.is_sealed(sealed(tmp_path / "k"))
