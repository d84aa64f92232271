from pathlib import Path

from segprune.doctor.folders import look_for_folders
from tests.doctor.cases import case_of
from tests.doctor.sick import folders, one_folder, removed, scenes


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


def test_a_text_file_that_names_images_and_is_not_used_is_told(tmp_path: Path) -> None:
    names = "\n".join(path.stem for path in one_folder(tmp_path))
    (tmp_path / "names.txt").write_text(names)
    case = case_of(tmp_path, image_suffix=".jpg")
    look_for_folders(case, tmp_path)
    (problem,) = case.problems
    assert problem.text == (
        "all images are in images with masks in masks, and no list or table that can be used says which is whose: "
        f"they are shared out. These files name images:\n   {tmp_path}/names.txt: its name has none of train, val, "
        "test"
    )
    assert problem.keys == {"fit": {"images": "images", "masks": "masks"}, "split": [0.7, 0.15, 0.15]}


def test_videos_are_shared_out_by_whole_folders_and_without_select_where_it_is_null(tmp_path: Path) -> None:
    scenes(tmp_path)
    for select, lines in ((None, {"fit": 8, "report": 4}), ({}, {"fit": 4, "select": 4, "report": 4})):
        case = case_of(tmp_path, **({} if select == {} else {"select": select}))
        look_for_folders(case, tmp_path)
        (problem,) = case.problems
        assert problem.keys.keys() == {"pairs"}
        table = [line.split(",") for line in Path(problem.keys["pairs"]).read_text().splitlines()[1:]]
        assert {role: [row[2] for row in table].count(role) for role in lines} == lines
        assert len(table) == 12
        assert len({(row[0].split("/")[0], row[2]) for row in table}) == 3  # no folder has two roles


def test_select_that_is_null_stays_so(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path, roles=["training", "val", "testing"]), select=None)
    look_for_folders(case, tmp_path)
    assert case.keys.keys() == {"fit", "report"}


def test_masks_of_two_kinds_are_not_two_folders_of_images(tmp_path: Path) -> None:
    one_folder(tmp_path)
    (tmp_path / "masks_too").mkdir()
    for path in (tmp_path / "masks").iterdir():
        (tmp_path / "masks_too" / path.name).write_bytes(path.read_bytes())
    case = case_of(tmp_path, image_suffix=".jpg")
    look_for_folders(case, tmp_path)
    assert case.keys == {"fit": {"images": "images", "masks": "masks"}, "split": [0.7, 0.15, 0.15]}
