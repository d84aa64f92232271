from pathlib import Path

from segprune.doctor.pairs import found_pairs
from tests.doctor.cases import case_of
from tests.doctor.sick import folders


def test_all_pairs_of_sound_folders(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path))
    assert {role: len(pairs) for role, pairs in found_pairs(case, tmp_path).items()} == {
        "fit": 4, "select": 4, "report": 4,
    }  # fmt: skip
    assert case.problems == []


def test_a_table_has_the_pairs_that_are_whole(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path))
    (tmp_path / "val/masks/b11.png").unlink()
    (tmp_path / "train/images/a00.png").unlink()
    assert {role: len(pairs) for role, pairs in found_pairs(case, tmp_path).items()} == {
        "fit": 3, "select": 3, "report": 4,
    }  # fmt: skip
    (problem,) = case.problems
    assert "2 files are not usable" in problem.text
    assert len(Path(problem.keys["pairs"]).read_text().splitlines()) == 11


def test_what_cannot_be_found_is_left_to_loading(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path), fit={"images": "nowhere", "masks": "nowhere"})
    assert found_pairs(case, tmp_path) == {}
    assert case.problems == []
