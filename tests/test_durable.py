import errno
import fcntl
import hashlib
import os
from pathlib import Path

import pytest
from filelock import Timeout

from segprune import durable
from segprune.errors import ConfigError

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of b"abc", the first example of FIPS 180."""


def test_a_lock_is_held_once_and_a_disk_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lock"
    with durable.Lock(path), pytest.raises(Timeout):
        durable.Lock(path).acquire(timeout=0)

    def without(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.raises(ConfigError, match=r"a\.lock cannot be locked: the disk has no file locks\."):
        durable.Lock(path).acquire(timeout=0)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_bytes(b"old")
    with durable.replacing(path) as file:
        file.write(b"a")
        file.write(b"bc")
        assert path.read_bytes() == b"old"
        assert file.sha256.hexdigest() == ABC
    assert path.read_bytes() == b"abc"
    assert durable.sha256(path) == ABC
    assert [path.name for path in tmp_path.iterdir()] == ["value.json"]


def test_a_block_that_fails_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_bytes(b"old")

    def write() -> None:
        with durable.replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["value.json"]


def test_files_of_one_stem_are_written_beside_each_other(tmp_path: Path) -> None:
    (tmp_path / "value.tmp").write_bytes(b"somebody's")
    with (
        durable.replacing(tmp_path / "value.json") as one,
        durable.replacing(tmp_path / "value.csv") as other,
    ):
        one.write(b"one")
        other.write(b"other")
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"value.tmp": b"somebody's", "value.json": b"one", "value.csv": b"other"}


def test_of_several_who_write_one_file_at_once_the_last_one_stays_and_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    with durable.replacing(path, is_shared=True) as late:
        late.write(b"late")
        with durable.replacing(path, is_shared=True) as soon:
            soon.write(b"sooner")
        assert path.read_bytes() == b"sooner"
    assert path.read_bytes() == b"late"
    assert [path.name for path in tmp_path.iterdir()] == ["value.json"]


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def replaced(old: Path, new: Path) -> None:
        done.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with durable.replacing(tmp_path / "value.json") as file:
        file.write(b"abc")
    assert done == ["value.json.tmp", "rename", tmp_path.name]


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_only_a_disk_that_cannot_sync_folders_is_excused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, passes: bool
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if passes:
        durable.sync(tmp_path)
    else:
        with pytest.raises(OSError, match="Input/output error"):
            durable.sync(tmp_path)


def test_a_checksum_at_the_end_tells_every_truncation_and_every_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = b"abc" + bytes.fromhex(ABC)
    path.write_bytes(whole)
    assert durable.ends_in_its_checksum(path)
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [
        whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :] for i in range(35) for bit in range(8)
    ]
    damaged += [whole + b"\0", b"\0" * 35]
    for raw in damaged:
        path.write_bytes(raw)
        assert not durable.ends_in_its_checksum(path), raw


def test_a_checksum_covers_more_than_one_block(tmp_path: Path) -> None:
    path, content = tmp_path / "file", bytes(range(256)) * 8192  # 2 MiB: two blocks of 1 MiB
    path.write_bytes(content + hashlib.sha256(content).digest())
    assert durable.ends_in_its_checksum(path)
    path.write_bytes(b"\1" + content[1:] + hashlib.sha256(content).digest())
    assert not durable.ends_in_its_checksum(path)
