import gc
import logging
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time

import pytest

from segprune.dataset import shared_memory
from segprune.dataset.shared_memory import Memory, folder, memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is shared by name on Linux alone")
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shared_memory._tell.cache_clear()


def in_another_process(work, *given):
    """What the function gives in a process that has nothing of this one's memory objects."""
    hears, tells = FORK.Pipe(duplex=False)

    def run():
        shared_memory._open.clear()
        tells.send(work(*given))

    process = FORK.Process(target=run)
    process.start()
    said = hears.recv() if hears.poll(30) else None
    process.join()
    assert process.exitcode == 0
    return said


def seen(size, name):
    return bytes(Memory(size, name).bytes[:4])


def test_bytes_are_zero_at_first_and_those_of_a_name_are_seen_by_other_processes():
    mine = Memory(8, "a")
    assert bytes(mine.bytes) == bytes(8)
    mine.bytes[:4] = b"here"
    assert in_another_process(seen, 8, "a") == b"here"
    assert in_another_process(seen, 8, "b") == bytes(4)
    assert in_another_process(seen, 9, "a") == bytes(4)  # another size is another memory
    assert in_another_process(seen, 8, None) == bytes(4)
    assert mine.file.exists()  # others came and left


def test_the_last_to_leave_removes_the_file_and_views_stay_readable():
    mine = Memory(8, "a")
    mine.bytes[:4] = b"here"
    view, file = memoryview(mine.bytes), mine.file
    assert file.parent == folder()
    assert folder().stat().st_mode & 0o777 == 0o700
    del mine
    gc.collect()
    assert not file.exists()
    assert bytes(view[:4]) == b"here"
    assert seen(8, "a") == bytes(4)


def test_one_process_has_a_name_once():
    first = memory(8, "a")
    assert memory(8, "a") is first
    assert memory(9, "a") is not first
    assert memory(8) is not memory(8)


def killed_while_using(names):
    def use():
        kept = [Memory(8, name) for name in names]
        for one in kept:
            one.bytes[:4] = b"gone"
        os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=use)
    process.start()
    process.join()
    assert {file.name for file in folder().iterdir()} == {f"{name}-8" for name in names}


def test_what_a_killed_process_left_is_never_read_and_goes_with_the_next_start():
    killed_while_using("abc")
    mine = Memory(8, "a")
    assert bytes(mine.bytes) == bytes(8)
    assert [*folder().iterdir()] == [mine.file]


def test_a_file_in_use_is_not_swept_by_another_start():
    first = Memory(8, "a")
    assert in_another_process(seen, 8, "b") == bytes(4)
    assert first.file.exists()


def test_a_forked_process_that_ends_leaves_the_file_to_its_parent():
    mine = Memory(8, "a")
    process = FORK.Process(target=mine.bytes.__setitem__, args=(slice(0, 4), b"here"))
    process.start()
    process.join()
    assert bytes(mine.bytes[:4]) == b"here"
    assert in_another_process(seen, 8, "a") == b"here"


def without_room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    one = Memory(size, "a")
    one.bytes[:4] = b"own!"
    return one.file, bytes(one.bytes[:4]), [*folder().iterdir()]


def test_without_room_on_the_disk_the_bytes_are_of_the_process_alone(caplog):
    assert in_another_process(without_room, 5000) == (None, b"own!", [])
    assert in_another_process(without_room, 500)[0] is not None


@pytest.mark.parametrize("made", ["open to others", "a file", "a link"])
def test_a_folder_that_others_can_change_is_not_used(made, tmp_path, caplog):
    match made:
        case "open to others":
            folder().mkdir(mode=0o777)
            folder().chmod(0o755)
        case "a file":
            folder().touch()
        case "a link":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            folder().symlink_to(tmp_path / "elsewhere")
    caplog.set_level(logging.INFO)
    assert Memory(8, "a").file is Memory(8, "b").file is None
    assert caplog.text.count("each job keeps its own decoded images") == 1
    assert str(folder()) in caplog.text


def come_and_go(number):
    """Open and leave at random for a while; whatever is seen is nothing yet, or what everybody writes."""
    draw = random.Random(number)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        name = draw.choice("ab")
        one = Memory(4096, name)
        found = bytes(one.bytes)
        if set(found) - {0, ord(name)}:
            return f"{name}: {found[:20]!r}"
        one.bytes[:] = name.encode() * 4096
        time.sleep(draw.random() / 500)
        del one
    return "fine"


def test_many_that_come_and_go_at_once_see_nothing_foreign_and_leave_nothing():
    pipes = []
    for number in range(4):
        hears, tells = FORK.Pipe(duplex=False)
        process = FORK.Process(
            target=lambda number, tells: tells.send(come_and_go(number)), args=(number, tells)
        )
        process.start()
        pipes.append((process, hears))
    for process, hears in pipes:
        assert hears.poll(60)
        assert hears.recv() == "fine"
        process.join()
    assert [*folder().iterdir()] == []
