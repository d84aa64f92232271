import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import Timeout
from safetensors import SafetensorError
from safetensors.torch import save_file

from segprune import stop
from segprune.errors import StoreError
from segprune.store import manifest
from segprune.store.fingerprint import fingerprint
from segprune.store.store import Store, lock_of, say_what_is_not_used


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


def test_the_manifest_tells_what_the_fingerprint_is_of(tmp_path: Path) -> None:
    key = fingerprint("train", {"seed": 3})
    entry = store(tmp_path).get("train", key, writes("one"))
    assert json.loads((entry.folder / "manifest.json").read_text())["inputs"] == {"seed": 3}


def key_of(code: str, **inputs: object) -> str:
    return fingerprint("train", {"seed": 3, **inputs, "code": {"training": code}})


def test_what_is_made_again_because_of_other_code_is_said_once_and_the_other_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = store(tmp_path).get("train", key_of("a"), writes("old"))
    assert caplog.text == ""
    shop = store(tmp_path)
    new = shop.get("train", key_of("b"), writes("new"))
    assert not new.was_reused
    assert [record.message for record in caplog.records] == [
        "train: computed again, because code of training/ changed. The old result is kept; store.accept=[train] "
        "takes it."
    ]
    assert ((old.folder / "value").read_text(), (new.folder / "value").read_text()) == ("old", "new")
    caplog.clear()
    assert shop.get("train", key_of("b"), writes("newer")).was_reused
    assert store(tmp_path).get("train", key_of("b", lr=0.1), writes("other")).was_reused is False
    assert caplog.text == ""


def test_an_accepted_result_of_other_code_stands_for_the_missing_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store(tmp_path).get("train", key_of("a"), writes("old"))
    shop = Store(root=tmp_path, reuse=True, accept=["train"])
    entry = shop.get("train", key_of("b"), writes("new"))
    assert (entry.key, entry.was_reused, entry.accepted) == (key_of("a"), True, {"train"})
    assert (entry.folder / "value").read_text() == "old"
    assert (shop.used, shop.computed, shop.accepted) == ([f"train/{key_of('a')}"], [], ("train",))
    assert f"train: store.accept takes the result {key_of('a')}, although code of training/" in caplog.text


def test_only_accepted_stages_are_taken_and_only_what_is_missing(tmp_path: Path) -> None:
    for code in ("a", "b"):
        store(tmp_path).get("train", key_of(code), writes(code))
    shop = Store(root=tmp_path, reuse=True, accept=["prune", "train"])
    assert not shop.get("train", key_of("b"), writes("c")).accepted
    assert Store(root=tmp_path, reuse=True, accept=["prune"]).get(
        "train", key_of("c"), writes("c")
    ).key == key_of("c")
    assert shop.accepted == ()
    assert shop.get("train", key_of("a", lr=0.1), writes("other")).was_reused is False


def test_a_damaged_result_is_not_accepted(tmp_path: Path) -> None:
    folder = store(tmp_path).get("train", key_of("a"), writes("old")).folder
    (folder / "value").write_text("odd")
    entry = Store(root=tmp_path, reuse=True, accept=["train"]).get("train", key_of("b"), writes("new"))
    assert (entry.key, entry.was_reused) == (key_of("b"), False)


def test_a_choice_stays_although_the_result_is_made_meanwhile(tmp_path: Path) -> None:
    store(tmp_path).get("train", key_of("a"), writes("old"))
    shop = Store(root=tmp_path, reuse=True, accept=["train"])
    assert shop.choice("train", key_of("b")) == key_of("a")
    store(tmp_path).get("train", key_of("b"), writes("new"))
    assert shop.get("train", key_of("b"), writes("newer")).key == key_of("a")


def test_results_of_an_earlier_store_are_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say_what_is_not_used(tmp_path / "none")
    store(tmp_path).get("train", key_of("a"), writes("now"))
    for folder in ("train/0123456789abcdef", "prune/fedcba9876543210", "prune/fedcba9876543210.partial"):
        (tmp_path / folder).mkdir(parents=True)
    for _ in range(2):
        say_what_is_not_used(tmp_path)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("2 results were written by another version of the store and are not used")
    caplog.clear()
    store(tmp_path / "new").get("train", key_of("a"), writes("now"))
    say_what_is_not_used(tmp_path / "new")
    assert caplog.text == ""


HARM: dict[str, Callable[[Path], object]] = {
    "value is missing": lambda folder: (folder / "value").unlink(),
    "value has 0 bytes instead of 3": lambda folder: (folder / "value").write_text(""),
    "value has another content": lambda folder: (folder / "value").write_text("onf"),
    "manifest.json is not one": lambda folder: (folder / "manifest.json").write_text("{"),
}


@pytest.mark.parametrize("reason", HARM)
def test_a_damaged_entry_is_set_aside_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    for number in (1, 2):
        folder = store(tmp_path).get("train", "k", writes("one")).folder
        HARM[reason](folder)
        caplog.clear()
        again = store(tmp_path).get("train", "k", writes("two"))
        assert ((again.folder / "value").read_text(), again.was_reused) == ("two", False)
        assert f"train/k was damaged ({reason}" in caplog.text
        assert f"moved aside to k.damaged-{number}" in caplog.text
        shutil.rmtree(folder)


def test_an_entry_from_before_there_were_manifests_is_used(tmp_path: Path) -> None:
    folder = store(tmp_path).get("train", "k", writes("one")).folder
    (folder / "manifest.json").unlink()
    again = store(tmp_path).get("train", "k", writes("two"))
    assert ((again.folder / "value").read_text(), again.was_reused) == ("one", True)


def test_a_result_that_only_lacks_its_name_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def stops(old: Path, new: Path) -> None:
        if new.name == "k":
            raise KeyboardInterrupt
        replace(old, new)

    def make(folder: Path) -> None:
        (folder / "progress.pt").write_text("two epochs")
        (folder / "value").write_text("one")

    monkeypatch.setattr(os, "replace", stops)
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path).get("train", "k", make)
    monkeypatch.undo()
    entry = store(tmp_path).get("train", "k", lambda folder: pytest.fail("it was made again"))
    assert entry.was_reused
    assert {path.name for path in entry.folder.iterdir()} == {"value", "manifest.json"}
    assert not (tmp_path / "train" / "k.partial").exists()


def test_the_notes_of_the_work_stay_until_the_result_is_safe_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(folder: Path) -> None:
        (folder / "round-1").mkdir(exist_ok=True)
        (folder / "round-1" / "progress.pt").write_text("two epochs")
        (folder / "value").write_text("one")

    def fails(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "seal", fails)
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path).get("train", "k", make)
    monkeypatch.undo()
    assert (tmp_path / "train" / "k.partial" / "round-1" / "progress.pt").exists()
    folder = store(tmp_path).get("train", "k", make).folder
    assert not (folder / "round-1" / "progress.pt").exists()


def test_an_old_entry_stays_until_the_new_one_is_there(tmp_path: Path) -> None:
    store(tmp_path).get("train", "k", writes("old"))

    def fails(folder: Path) -> None:
        (folder / "value").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path, reuse=False).get("train", "k", fails)
    assert (store(tmp_path).get("train", "k", writes("new")).folder / "value").read_text() == "old"
    store(tmp_path, reuse=False).get("train", "k", writes("new"))
    assert {path.name for path in (tmp_path / "train").iterdir()} == {"k", "k.lock"}


def raises(error: BaseException) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        raise error

    return make


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free disk space"),
        (errno.EROFS, "Make the disk writable"),
        (errno.EACCES, "Make it readable and writable"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_a_disk_that_refuses_is_one_sentence_with_the_path_and_the_remedy(
    tmp_path: Path, number: int, remedy: str
) -> None:
    path = tmp_path / "train" / "k.partial" / "value"
    said = f"train/k of the store {tmp_path} cannot be read or written: {os.strerror(number)}"
    with pytest.raises(
        StoreError, match=re.escape(f"{said} ({path}). {remedy}, or choose another place with store.")
    ):
        store(tmp_path).get("train", "k", raises(OSError(number, os.strerror(number), str(path))))
    with pytest.raises(StoreError, match=re.escape(f"{said} ({tmp_path / 'train' / 'k'}). {remedy}")):
        store(tmp_path).get("train", "k", raises(OSError(number, os.strerror(number))))


def test_what_safetensors_says_of_the_disk_is_understood(tmp_path: Path) -> None:
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(
        StoreError, match=r"train/k of the store .* No space left on device .* Free disk space"
    ):
        store(tmp_path).get("train", "k", raises(full))
    with pytest.raises(StoreError, match=r"No such file or directory .*\. Mend that"):
        store(tmp_path).get(
            "train", "k", lambda folder: save_file({"a": torch.zeros(1)}, folder / "missing" / "a")
        )
    with pytest.raises(SafetensorError, match="invalid header"):
        store(tmp_path).get("train", "k", raises(SafetensorError("invalid header")))


def test_errors_that_are_not_the_stores_stay_what_they_are(tmp_path: Path) -> None:
    inside = store(tmp_path / "store")
    with pytest.raises(FileNotFoundError, match=r"image\.png"):
        inside.get("train", "k", lambda folder: (tmp_path / "image.png").read_bytes())
    with pytest.raises(ConnectionResetError):
        inside.get("train", "k", raises(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")))


def test_a_root_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=rf"\({tmp_path}/file.*store\.root="):
        store(tmp_path / "file").get("train", "k", writes("one"))
    with pytest.raises(StoreError, match=rf"\({tmp_path}/file.*store\.root="):
        store(tmp_path / "file" / "store").get("train", "k", writes("one"))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store(tmp_path).get("train", "k", writes("one"))
    really = os.open

    def refuses(path, flags: int, *rest: int, **options: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(number, os.strerror(number), str(path))
        return really(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuses)
    entry = store(tmp_path).get("train", "k", writes("two"))
    assert ((entry.folder / "value").read_text(), entry.was_reused) == ("one", True)
    with pytest.raises(StoreError, match=rf"{os.strerror(number)} .*other\.lock"):
        store(tmp_path).get("train", "other", writes("two"))
    with pytest.raises(StoreError, match=r"k\.lock"):
        store(tmp_path, reuse=False).get("train", "k", writes("two"))
    (entry.folder / "value").write_text("")
    with pytest.raises(StoreError, match=r"k\.lock"):
        store(tmp_path).get("train", "k", writes("two"))


HOLDER = """
import sys, time
from pathlib import Path
from segprune.store.store import Store

def make(folder):
    (folder / "half").write_text("way")
    print("holds", flush=True)
    time.sleep(600)

Store(root=Path(sys.argv[1]), reuse=True).get("train", "k", make)
"""


def test_the_lock_of_a_dead_process_blocks_nobody_and_its_work_is_handed_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(Timeout):
            lock_of(tmp_path / "train" / "k").acquire(timeout=0)
        holder.kill()
    seen: list[str] = []
    entry = store(tmp_path).get("train", "k", lambda folder: seen.extend(p.name for p in folder.iterdir()))
    assert seen == ["half"]
    assert not entry.was_reused


def test_who_waits_for_another_ends_when_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train").mkdir()
    monkeypatch.setattr(stop, "_asked", [signal.SIGTERM])
    with lock_of(tmp_path / "train" / "k"), pytest.raises(SystemExit) as ended:
        store(tmp_path).get("train", "k", writes("one"))
    assert ended.value.code == 143
