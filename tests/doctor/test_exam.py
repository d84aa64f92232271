from pathlib import Path

from segprune.doctor.exam import examine
from tests.doctor.cases import case_of
from tests.doctor.sick import folders


def test_what_has_no_remedy_is_told_and_gives_no_data(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path, (0, 1)), palette=[[1, 2, 3]])
    assert examine(case) is None
    assert "dataset.palette has 1 colours for 2 classes" in case.problems[-1].text
    assert case.problems[-1].keys == {}


def test_later_steps_see_what_earlier_ones_mended(tmp_path: Path) -> None:
    case = case_of(folders(tmp_path, (0, 255), roles=["train"], count=8), image_suffix=".jpg")
    data = examine(case)
    assert data is not None
    assert [len(role) for role in (data.fit, data.select or (), data.report)] == [6, 1, 1]
    assert case.keys == {"split": [0.7, 0.15, 0.15], "image_suffix": ".png", "values": {255: 1}}


def test_a_data_set_of_another_kind_is_loaded_as_it_is(tmp_path: Path) -> None:
    case = case_of(tmp_path)
    case.node = {"_target_": "segprune.dataset.camvid.camvid", "root": str(tmp_path)}
    assert examine(case) is None
    assert "dataset lacks size_hw" in case.problems[0].text


def test_folders_that_the_data_do_not_use_are_named(tmp_path: Path) -> None:
    folders(tmp_path, roles=["train", "val", "test", "extra"])
    case = case_of(tmp_path)
    assert examine(case) is not None
    assert case.problems == []
    assert case.notes == [
        f"24 of 32 images and masks in {tmp_path} are used; not used are 4 in extra/images, 4 in extra/masks"
    ]
