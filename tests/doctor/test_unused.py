from pathlib import Path

from segprune.doctor.unused import tell_of_unused
from tests.doctor.cases import case_of
from tests.doctor.sick import folders

TABLE = "image,mask,role\n" + "".join(
    f"train/images/{name}.png,train/masks/{name}.png,fit\n" for name in ("a00", "b01", "c04", "d09")
)


def told(root: Path, table: str) -> list[str]:
    case = case_of(root)
    tell_of_unused(case, root, table)
    return case.notes


def test_all_are_used(tmp_path: Path) -> None:
    folders(tmp_path, roles=["train"])
    assert told(tmp_path, TABLE) == [f"all 8 images and masks in {tmp_path} are used"]


def test_folders_that_are_not_used_are_named(tmp_path: Path) -> None:
    folders(tmp_path, roles=["train"])
    folders(tmp_path, roles=["other"], count=2)
    without_last = TABLE.rpartition("train/images/d09")[0]
    assert told(tmp_path, without_last) == [
        f"6 of 12 images and masks in {tmp_path} are used; not used are 2 in other/images, 2 in other/masks, "
        "1 in train/images, 1 in train/masks"
    ]


def test_of_many_folders_only_some_are_named(tmp_path: Path) -> None:
    folders(tmp_path, roles=[f"s{k}" for k in range(6)], count=1)
    (note,) = told(tmp_path, "image,mask,role\n")
    assert note.startswith(f"0 of 12 images and masks in {tmp_path} are used; not used are 1 in s0/images, ")
    assert note.endswith("1 in s3/masks and 4 more folders")


def test_a_path_through_a_link_is_the_file_itself(tmp_path: Path) -> None:
    root = folders(tmp_path / "data", roles=["train"], count=1)
    (tmp_path / "link").symlink_to(root)
    table = f"image,mask,role\n{tmp_path}/link/train/images/a00.png,train/masks/a00.png,fit\n"
    assert told(root, table) == [f"all 2 images and masks in {root} are used"]
