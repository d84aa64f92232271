import errno
import os

import pytest

from segprune.dataset.pairing import list_pairs, require_root
from segprune.errors import DataError


def files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def listed(root, images="i", labels="l", suffixes=(".jpg", "_mask.png"), limit=None):
    return list_pairs(root / images, root / labels, suffixes=suffixes, layout="LAYOUT", limit=limit)


def test_pairs_share_their_name_and_come_in_its_order(tmp_path):
    files(
        tmp_path,
        "i/b.jpg",
        "i/sub dir/ä.jpg",
        "i/a.jpg",
        "l/a_mask.png",
        "l/b_mask.png",
        "l/sub dir/ä_mask.png",
    )
    files(tmp_path, "i/._a.jpg", "i/notes.txt", "l/a_colour.png")
    pairs = listed(tmp_path)
    assert [pair.name for pair in pairs] == ["a", "b", "sub dir/ä"]
    assert pairs[2].image == tmp_path / "i/sub dir/ä.jpg"
    assert pairs[2].label == tmp_path / "l/sub dir/ä_mask.png"
    assert listed(tmp_path, limit=2) == pairs[:2]


@pytest.mark.parametrize("suffixes", [(".png", "_mask.png"), ("_rgb.png", ".png")])
def test_images_and_labels_may_share_a_folder(tmp_path, suffixes):
    files(tmp_path, *(f"i/{name}{suffix}" for name in "ab" for suffix in suffixes))
    pairs = listed(tmp_path, labels="i", suffixes=suffixes)
    assert [(p.image.name, p.label.name) for p in pairs] == [
        (f"{n}{suffixes[0]}", f"{n}{suffixes[1]}") for n in "ab"
    ]


def test_image_without_label_is_named(tmp_path):
    files(tmp_path, "i/a.jpg", "i/b.jpg", "l/a_mask.png")
    with pytest.raises(
        DataError, match=r"i/b.jpg has no label .*l/b_mask.png; add the label or remove the image"
    ):
        listed(tmp_path)


def test_label_without_image_is_named(tmp_path):
    files(tmp_path, "i/a.jpg", "l/a_mask.png", "l/c_mask.png", "l/d_mask.png")
    with pytest.raises(
        DataError, match=r"l/c_mask.png has no image .*i/c.jpg; .*\(and 1 more faulty files\)"
    ):
        listed(tmp_path)


def test_missing_folder_is_named_with_layout_and_key(tmp_path):
    files(tmp_path, "i/a.jpg")
    with pytest.raises(DataError, match=r"/l is missing. Expected: LAYOUT. Set dataset.root="):
        listed(tmp_path)


def test_folder_without_such_files_is_named(tmp_path):
    files(tmp_path, "i/a.png", "l/a_mask.png")
    with pytest.raises(
        DataError, match=r"/i holds no \*.jpg. It holds 1 \*.png. Expected: LAYOUT. Set dataset.root="
    ):
        listed(tmp_path)


def test_root_must_be_a_folder(tmp_path):
    require_root(tmp_path, "LAYOUT")
    with pytest.raises(
        DataError, match=r"dataset.root=.*nowhere is not a folder. Expected: LAYOUT. Set dataset.root="
    ):
        require_root(tmp_path / "nowhere", "LAYOUT")


def test_a_folder_that_a_link_leads_to_again_is_refused(tmp_path):
    files(tmp_path, "i/a.jpg", "l/a_mask.png")
    (tmp_path / "i/again").symlink_to(tmp_path / "i")
    with pytest.raises(DataError, match=r"i/again and .*/i are one folder.*count twice: remove the link"):
        listed(tmp_path)


def test_a_folder_elsewhere_may_be_linked(tmp_path):
    files(tmp_path, "far/b.jpg", "i/a.jpg", "l/a_mask.png", "l/there/b_mask.png")
    (tmp_path / "i/there").symlink_to(tmp_path / "far")
    assert [pair.name for pair in listed(tmp_path)] == ["a", "there/b"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    files(tmp_path, "i/sub/a.jpg", "l/sub/a_mask.png")
    scan = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"i/sub cannot be listed \(Permission denied\); make it readable"):
        listed(tmp_path)


def test_a_name_that_no_disk_can_hold_is_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"dataset.root=.*xxx is not a folder"):
        require_root(tmp_path / ("x" * 300), "LAYOUT")


def test_a_name_that_is_no_text_is_refused(tmp_path):
    files(tmp_path, os.fsdecode(b"i/\xff.jpg"), os.fsdecode(b"l/\xff_mask.png"))
    with pytest.raises(DataError, match=r"\\udcff.jpg' has a name that is not valid UTF-8; rename it"):
        listed(tmp_path)
