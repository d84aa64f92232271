import multiprocessing

import pytest

from segprune.dataset.cache import locked, write_atomic
from segprune.errors import ConfigError


def test_folder_that_cannot_be_made_names_the_key(tmp_path):
    blocked = tmp_path / "a_file"
    blocked.write_text("")
    with (
        pytest.raises(
            ConfigError, match=r"dataset.cache_dir: .*a_file/below cannot be written.*writable folder"
        ),
        locked(blocked / "below" / "x.npz"),
    ):
        pass


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    write_atomic(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    write_atomic(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["x"]


def _add_one(path):
    for _ in range(50):
        with locked(path):
            count = int(path.read_text()) if path.exists() else 0
            write_atomic(path, lambda file, count=count: file.write(str(count + 1).encode()))


def test_lock_lets_no_update_get_lost(tmp_path):
    path = tmp_path / "folder" / "count"
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_add_one, args=(path,)) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert path.read_text() == "100"
