"""Endings and folders that belong together, told from names."""

from pathlib import Path

import pytest

from segprune.doctor.layout import endings, loose_pairs, places


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        (["a.jpg", "b.jpg"], ["a.png", "b.png"], ((".jpg",), (".png",), 2)),
        (["1.jpg", "10.jpg", "2.jpg"], ["1.png", "10.png", "2.png"], ((".jpg",), (".png",), 3)),
        (["u_0_left8bit.png"], ["u_0_gt_ids.png"], (("_left8bit.png",), ("_gt_ids.png",), 1)),
        (["a.jpg", "b.JPG", "c.jpg"], ["a_m.png", "b_m.png", "c_m.png"], ((".jpg", ".JPG"), ("_m.png",), 3)),
        (["a.png", "b.png"], ["a.png", "b.png"], ((".png",), (".png",), 2)),
        (["img_1.png"], ["mask_1.png"], ((), (), 0)),
        (["train_0.jpg", "train_1.jpg"], ["test_0.png", "test_1.png"], ((), (), 0)),
        (["car.jpg", "cat.jpg"], ["cat.png"], ((".jpg",), (".png",), 1)),
    ],
)  # fmt: skip
def test_endings(images: list[str], masks: list[str], expected: object) -> None:
    assert endings(images, masks) == expected


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_cities_are_one_place(tmp_path: Path) -> None:
    for city in ("ulm", "bonn"):
        touch(tmp_path, f"rgb/train/{city}/{city}_x.png", f"gtFine/train/{city}/{city}_x_gt.png")
    (place,) = places(tmp_path)
    assert (place.images, place.masks, place.role, place.pairs) == ("rgb/train", "gtFine/train", "fit", 2)


def test_each_folder_of_masks_finds_its_images(tmp_path: Path) -> None:
    for role in ("training", "validation", "testing"):
        touch(
            tmp_path,
            f"images/{role}/{role}.jpg",
            f"annotations/{role}/{role}.png",
            f"images/{role}/other.jpg",
        )
    assert {place.role: place.images for place in places(tmp_path)} == {
        "fit": "images/training", "select": "images/validation", "report": "images/testing",
    }  # fmt: skip


def test_of_equal_names_in_every_role_those_of_one_role_belong_together(tmp_path: Path) -> None:
    for role in ("train2017", "val2017"):
        touch(tmp_path, f"images/{role}/1.jpg", f"labels/panoptic_{role}/1.png")
    assert {place.images: place.masks for place in places(tmp_path)} == {
        "images/train2017": "labels/panoptic_train2017", "images/val2017": "labels/panoptic_val2017",
    }  # fmt: skip


def test_folders_of_two_roles_fit_worse_than_any_others(tmp_path: Path) -> None:
    """Every image of train has a name that fits one mask of test, and only one image of test has its mask."""
    touch(tmp_path, "test/images/a.jpg", "test/masks/a.png")
    for name in "bcde":
        touch(tmp_path, f"train/images/{name}.jpg", f"train/masks/{name}.png", f"test/masks/{name}.png")
    assert {place.images: place.masks for place in places(tmp_path)} == {
        "train/images": "train/masks", "test/images": "test/masks",
    }  # fmt: skip


def test_a_few_images_with_the_role_in_their_names_are_found(tmp_path: Path) -> None:
    for role, count in (("train", 20), ("test", 3)):
        for k in range(count):
            touch(tmp_path, f"{role}/images/{role}_{k:03}.jpg", f"{role}/masks/{role}_{k:03}.png")
    assert [(place.images, place.masks, place.pairs) for place in places(tmp_path)] == [
        ("train/images", "train/masks", 20), ("test/images", "test/masks", 3),
    ]  # fmt: skip


def test_a_word_in_a_folder_above_all_does_not_count(tmp_path: Path) -> None:
    touch(tmp_path, "segmentation/photos/a.jpg", "segmentation/masks/a.png")
    (place,) = places(tmp_path)
    assert (place.images, place.masks) == ("segmentation/photos", "segmentation/masks")


def test_pairs_by_what_is_left_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "img_1.png", "mask_1.png", "img_2.png", "mask_3.png")
    assert loose_pairs(tmp_path) == [("img_1.png", "mask_1.png")]
