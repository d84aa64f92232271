import os
import signal

import pytest

from segprune import stop


@pytest.fixture(autouse=True)
def restored():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    stop._asked.clear()


def test_a_request_is_obeyed_at_the_next_safe_moment() -> None:
    stop.install()
    stop.if_asked()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        stop.if_asked()
    assert ended.value.code == 143


def test_a_second_request_is_obeyed_at_once() -> None:
    stop.install()
    stop.on_terminate(signal.SIGTERM, None)
    with pytest.raises(SystemExit) as ended:
        stop.on_terminate(signal.SIGTERM, None)
    assert ended.value.code == 143
