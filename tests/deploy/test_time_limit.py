import threading
import time

import pytest

from segprune.deploy.time_limit import time_limit


def spin() -> None:
    """Python code that never ends and swallows every error that a program may swallow."""
    while True:
        try:
            sum(range(100))
        except Exception:  # noqa: BLE001 - what an exporter does that tries one way after another
            continue


def test_what_never_ends_is_ended() -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"longer than 0\.1 s"), time_limit(0.1):
        spin()
    assert 0.1 <= time.monotonic() - start < 5


def test_it_ends_work_of_another_thread_too() -> None:
    ended = []

    def work() -> None:
        try:
            with time_limit(0.05):
                spin()
        except TimeoutError:
            ended.append(True)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    assert ended == [True]


def test_what_ends_in_time_is_left_alone_and_so_is_what_follows() -> None:
    before = threading.active_count()
    with time_limit(0.05):
        found = sum(range(10))
    time.sleep(0.1)
    assert (found, threading.active_count()) == (45, before)


def test_errors_of_the_work_come_through() -> None:
    with pytest.raises(ValueError, match="its own"), time_limit(5):
        raise ValueError("its own")
