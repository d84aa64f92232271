import logging
from pathlib import Path

from segprune.doctor.case import Case, several, silent
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


def test_loading_says_nothing() -> None:
    logger = logging.getLogger("segprune.dataset")
    before = logger.level
    with silent():
        assert not logger.isEnabledFor(logging.WARNING)
    assert logger.level == before
