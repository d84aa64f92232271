import logging
from pathlib import Path

import pytest

from segprune.doctor.case import Case, folded, several, silent
from segprune.doctor.contract import Problem


def test_a_problem_mends_what_is_looked_at_later(tmp_path: Path) -> None:
    given = {"classes": ["a"], "limit": None}
    case = Case(given, tmp_path)
    case.add("too few", classes=["a", "b"], exif="apply")
    case.take([Problem(text="other", keys={"exif": "ignore"})])
    assert case.node == {"classes": ["a", "b"], "limit": None, "exif": "ignore"}
    assert case.keys == {"classes": ["a", "b"], "exif": "ignore"}
    assert given == {"classes": ["a"], "limit": None}


def test_every_table_is_a_new_file(tmp_path: Path) -> None:
    case = Case({}, tmp_path / "new")
    first, second = case.written("a"), case.written("b")
    assert (Path(first).read_text(), Path(second).read_text()) == ("a", "b")


def test_one_ending_or_more() -> None:
    assert (several(".png"), several([".a", ".b"]), several(None)) == ((".png",), (".a", ".b"), ())


def test_loading_says_nothing_and_its_warnings_become_notes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logger, notes = logging.getLogger("segprune.dataset.some"), list[str]()
    with silent(notes):
        logger.info("loaded")
        logger.warning("odd")
    assert (notes, caplog.messages) == (["odd"], [])
    logger.info("again")
    assert caplog.messages == ["again"]


def test_faults_that_differ_in_file_and_number_alone_are_told_once() -> None:
    faults = ["/d/a.png has values [3]", "/d/a.jpg is 3x4", "/d/b.png has values [4, 5]", "/d/b.jpg is 5x6"]
    assert folded(faults) == [
        "/d/a.png has values [3]\n   and 1 more alike",
        "/d/a.jpg is 3x4\n   and 1 more alike",
    ]
    assert folded(faults[:1]) == faults[:1]
