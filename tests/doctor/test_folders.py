from pathlib import Path

from segprune.doctor.folders import look_for_folders
from tests.doctor.cases import case_of
from tests.doctor.sick import folders, removed


def test_folders_that_are_as_the_keys_say_need_nothing(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path))
    look_for_folders(case, tmp_path)
    assert case.problems == []


def test_hidden_folders_are_left_alone(tmp_path: Path) -> None:
    root = folders(tmp_path)
    case = case_of(root)
    for part in ("images", "masks"):
        hidden = root / "train" / part / ".ipynb_checkpoints"
        hidden.mkdir()
        (hidden / "a-checkpoint.gif").write_text("")
    look_for_folders(case, root)
    assert case.problems == []


def test_a_role_that_a_split_gives_needs_no_folder(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path, roles=["train"]), split=[0.6, 0.2, 0.2])
    look_for_folders(case, tmp_path)
    assert case.problems == []


def test_a_table_of_pairs_needs_no_folder(tmp_path: Path) -> None:
    case = case_of(tmp_path, pairs="pairs.csv")
    look_for_folders(case, tmp_path)
    assert case.problems == []


def test_images_without_masks_have_no_remedy(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path))
    for role in ("train", "val", "test"):
        removed(tmp_path / role / "masks")
    look_for_folders(case, tmp_path)
    assert [problem.keys for problem in case.problems] == [{}]
