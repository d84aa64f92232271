"""What text files say of roles, read as the loader reads them."""

from pathlib import Path

import pytest

from segprune.doctor.layout import Place, places
from segprune.doctor.lists import said_by_texts
from tests.doctor.sick import one_folder


@pytest.fixture
def one(tmp_path: Path) -> list[Place]:
    """a00, b01, c04 and so on in images/ and masks/."""
    one_folder(tmp_path)
    return places(tmp_path)


def write(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        (root / name.replace("__", ".")).write_text(text)


def test_each_list_is_of_the_role_that_its_name_says(tmp_path: Path, one: list[Place]) -> None:
    write(
        tmp_path,
        my_train__txt="a00\nb01\n",
        valid__lst="# those that choose\nc04 1 2\n",
        TESTING__txt="d09.jpg",
    )
    said, _ = said_by_texts(tmp_path, one, tmp_path / "ours")
    assert said
    assert said.files == {"fit": "my_train.txt", "select": "valid.lst", "report": "TESTING.txt"}
    assert {role: [pair.name for pair in pairs] for role, pairs in said.roles.items()} == {
        "fit": ["a00", "b01"], "select": ["c04"], "report": ["d09"],
    }  # fmt: skip
    assert said.is_list


def test_a_text_of_something_else_is_no_list(tmp_path: Path, one: list[Place]) -> None:
    write(tmp_path, train__txt="how the training images were made,\n a00 among them\nin the year 2020\n")
    assert said_by_texts(tmp_path, one, tmp_path / "ours") == (None, [])


def test_of_two_lists_for_a_role_the_one_that_can_be_read_and_shares_no_image(
    tmp_path: Path, one: list[Place]
) -> None:
    write(tmp_path, train__txt="a00\nnone\nnobody\na00\n", trainval__txt="a00\nb01\n")
    write(tmp_path, val__txt="b01\n", val_too__txt="c04\n")
    said, _ = said_by_texts(tmp_path, one, tmp_path / "ours")
    assert said
    assert said.files == {"fit": "trainval.txt", "select": "val_too.txt"}


def test_a_list_with_few_faults_is_one(tmp_path: Path, one: list[Place]) -> None:
    write(tmp_path, train__txt="a00\nb01\nnone\n", test__txt="c04\n")
    said, _ = said_by_texts(tmp_path, one, tmp_path / "ours")
    assert said
    assert said.files == {"fit": "train.txt", "report": "test.txt"}
    assert said.roles["fit"] == ()


def test_files_that_say_no_roles_are_told_with_the_reason(tmp_path: Path, one: list[Place]) -> None:
    write(tmp_path, names__txt="a00\nb01\n", train__txt="a00\n", which__csv="filename,split\na00.jpg,train\n")
    write(tmp_path, fit__csv="image,mask,role\nimages/a00.jpg,masks/a00.png,train\n")
    said, why = said_by_texts(tmp_path, one, tmp_path / "ours")
    assert said is None
    assert sorted(why) == [
        f"{tmp_path}/fit.csv: it has the role fit alone",
        f"{tmp_path}/names.txt: its name has none of train, val, test",
        f"{tmp_path}/train.txt: no other role has one",
        *[text for text in why if text.startswith("dataset.pairs=")],
    ]
    assert "which.csv begins with 'filename,split'; it must be a CSV whose first line is image,mask" in str(
        why
    )


def test_lists_are_read_with_one_folder_alone(tmp_path: Path, one: list[Place]) -> None:
    write(tmp_path, train__txt="a00\n", test__txt="c04\n")
    said, why = said_by_texts(tmp_path, [*one, *one], tmp_path / "ours")
    assert said is None
    assert why[0] == f"{tmp_path}/test.txt: lists are read with one folder of images, and there are 2"


def test_what_lies_in_hidden_folders_or_is_the_doctors_is_not_read(tmp_path: Path, one: list[Place]) -> None:
    for folder in (".old", "ours"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.txt").write_text("a00\n")
    assert said_by_texts(tmp_path, one, tmp_path / "ours") == (None, [])


def test_a_link_to_nothing_is_left_alone_and_utf_16_is_told(tmp_path: Path, one: list[Place]) -> None:
    (tmp_path / "train.txt").symlink_to("nowhere.txt")
    (tmp_path / "val.txt").write_text("a00\nb01\nc04\n", encoding="utf-16")
    said, why = said_by_texts(tmp_path, one, tmp_path / "ours")
    assert said is None
    (told,) = why
    assert told.startswith(f"{tmp_path}/val.txt cannot be read ('utf-8' codec")
