import os
import signal
from collections.abc import Callable
from functools import partial

import pytest

from tests.networks.apart import GIB, answer_of


def spin() -> str:
    while True:
        pass


def eat() -> str:
    try:
        return str(len(bytearray(64 * GIB)))
    except MemoryError:
        return "too much"


def die() -> str:
    os.kill(os.getpid(), signal.SIGSEGV)
    return "alive"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "answer"),
    [
        (partial(str, 7), "7"),
        (spin, "no end in 1 CPU s"),
        (eat, "too much"),
        (die, "ends by SIGSEGV"),
        (partial(os._exit, 3), "ends with exit code 3"),
    ],
)
def test_whatever_becomes_of_the_work_there_is_an_answer(work: Callable[[], str], answer: str) -> None:
    assert answer_of(work, 1 if work is spin else 20) == answer
