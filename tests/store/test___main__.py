import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segprune.store.__main__ import main
from segprune.store.store import Store, lock_of
from tests.store.test_inventory import KEYS, filled, record


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield


def make(root: Path, key: str, *, days: float = 0) -> Path:
    folder = Store(root=root, reuse=True).get("train", key, lambda f: (f / "value").write_text("abc")).folder
    then = folder.stat().st_mtime - days * 86400
    os.utime(folder, (then, then))
    return folder


def names(root: Path) -> set[str]:
    return {path.name for path in (root / "train").iterdir() if path.is_dir()}


def test_the_list_names_every_folder_with_its_state_and_size(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    (tmp_path / "train" / KEYS[0] / "value").write_bytes(bytes(2_500_000))
    with lock_of(tmp_path / "train" / KEYS[2]).acquire(timeout=0):
        assert main(["--store", str(tmp_path), "list"]) == 0
    lines = [" ".join(line.split()) for line in caplog.messages]
    assert lines == [
        f"prune {KEYS[1]} finished 0.00 MB 0.0 d",
        f"train {KEYS[0]} finished 2.50 MB 0.0 d",
        f"train {KEYS[2]} computing 0.00 MB 0.0 d",
        f"train {KEYS[3]} damaged 0.00 MB 0.0 d",
        f"train {KEYS[3]} left over 0.00 MB 0.0 d",
        "5 folders, 2.50 MB",
    ]
    caplog.clear()
    main(["--store", str(tmp_path), "list"])
    assert f"train {KEYS[2]} unfinished" in " ".join(caplog.text.split())


def test_verify_names_what_is_not_what_was_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, KEYS[0])
    (make(tmp_path, KEYS[1]) / "manifest.json").unlink()
    assert main(["--store", str(tmp_path), "verify"]) == 0
    assert "entries: 1 intact, 0 damaged" in caplog.messages
    assert "not checked: 1, which an earlier version wrote without checksums" in caplog.messages
    (make(tmp_path, KEYS[2]) / "value").write_text("abd")
    assert main(["--store", str(tmp_path), "verify"]) == 1
    assert (
        f"train/{KEYS[2]} is damaged: value has another content than it was written with" in caplog.messages
    )
    assert "entries: 1 intact, 1 damaged" in caplog.messages


def test_pruning_says_what_it_would_do_and_does_it_when_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    make(tmp_path, KEYS[4], days=1000)
    (make(tmp_path, KEYS[5]) / "value").unlink()
    before = names(tmp_path)
    assert main(["--store", str(tmp_path), "prune"]) == 0
    assert names(tmp_path) == before
    assert caplog.text.count("would remove") == 4
    assert f"train/{KEYS[5]} (damaged: value is missing)" in caplog.text
    assert caplog.messages[-1].endswith("in all; nothing was removed yet: --yes removes it")
    assert main(["--store", str(tmp_path), "prune", "--yes"]) == 0
    assert names(tmp_path) == {KEYS[0], KEYS[4]}
    caplog.clear()
    assert main(["--store", str(tmp_path), "prune", "--yes"]) == 0
    assert caplog.messages == ["0.00 MB"]


def test_finished_entries_go_by_age_by_name_or_by_both(tmp_path: Path) -> None:
    root = tmp_path / "outputs" / "store"
    record(
        tmp_path / "outputs" / "runs" / "a", status="done", entries=[f"train/{KEYS[0]}", f"train/{KEYS[1]}"]
    )

    def left(*arguments: str) -> set[str]:
        shutil.rmtree(root, ignore_errors=True)
        for number, days in enumerate((0, 40, 0, 40)):  # the first two are named
            make(root, KEYS[number], days=days)
        assert main(["--store", str(root), "prune", *arguments, "--yes"]) == 0
        return names(root)

    assert left() == set(KEYS[:4])
    assert left("--older-than", "30") == {KEYS[0], KEYS[2]}
    assert left("--unreferenced") == {KEYS[0], KEYS[1]}
    assert left("--unreferenced", "--older-than", "30") == {KEYS[0], KEYS[1], KEYS[2]}


def test_what_is_in_use_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path)
    with lock_of(tmp_path / "train" / KEYS[2]).acquire(timeout=0):
        main(["--store", str(tmp_path), "prune"])
        assert caplog.text.count("would remove") == 2
        main(["--store", str(tmp_path), "prune", "--yes"])
    assert names(tmp_path) == {KEYS[0], f"{KEYS[2]}.partial"}
    assert f"{KEYS[2]}.partial is in use and stays" in caplog.text


def test_a_disk_that_refuses_and_a_store_that_is_not_there_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["--store", str(tmp_path / "missing"), "list"]) == 1
    assert f"segprune: {tmp_path}/missing is no folder" in caplog.text
    assert main(["--store", str(tmp_path), "prune", "--unreferenced"]) == 1
    assert "names an entry, so every entry would be removed" in caplog.text
    filled(tmp_path)

    def refuses(old: Path, new: Path) -> None:
        raise OSError(30, "Read-only file system", str(old))

    monkeypatch.setattr(os, "replace", refuses)
    assert main(["--store", str(tmp_path), "prune", "--yes"]) == 1
    assert f"segprune: {tmp_path}/train/{KEYS[2]}.partial: Read-only file system" in caplog.text


def test_an_entry_that_cannot_be_read_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    folder = make(tmp_path, KEYS[0])
    monkeypatch.setattr(Path, "read_bytes", refuses)
    assert main(["--store", str(tmp_path), "prune", "--yes"]) == 1
    assert folder.exists()


def test_the_command_finds_the_store_below_the_outputs_and_imports_nothing_heavy(tmp_path: Path) -> None:
    make(tmp_path / "store", KEYS[0])
    code = (
        "import runpy, sys\n"
        "sys.argv = ['storage', 'list']\n"
        "try:\n    runpy.run_module('segprune.store', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "SEGPRUNE_OUTPUTS": str(tmp_path)},
        timeout=120,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["train", KEYS[0], "finished"]
    assert lines[-1] == "False"
