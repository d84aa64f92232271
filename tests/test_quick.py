"""The tier that people run after every change."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ONLY_IN_THE_WHOLE = {
    "bench",
    "deploy",
    "doctor",
    "gpu_check",
    "model",
    "networks",
    "predict",
    "report",
    "reproduce",
    "sweep",
    "tracking",
}
"""Rooms whose tests draw figures, write files of networks, load many data sets, or start processes and servers."""


def listed() -> list[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return re.search(r"^QUICK := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)[1].replace("\\", "").split()


def test_what_is_quick_exists() -> None:
    assert [name for name in listed() if not (ROOT / "tests" / name).exists()] == []


def test_of_every_room_it_is_decided_whether_its_tests_are_quick() -> None:
    rooms = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    quick = {name for name in listed() if not name.endswith(".py")}
    assert rooms == quick | ONLY_IN_THE_WHOLE
    assert not quick & ONLY_IN_THE_WHOLE
