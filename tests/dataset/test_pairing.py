import errno
import os
import unicodedata

import pytest

from segprune.dataset.pairing import list_pairs, pairs_of_list, require_root
from segprune.errors import DataError


def files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def listed(root, images="i", labels="l", suffixes=(".jpg", "_mask.png"), **others):
    suffixes = tuple((one,) if isinstance(one, str) else one for one in suffixes)
    return list_pairs(root / images, root / labels, suffixes=suffixes, layout="LAYOUT", **others)


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
    files(
        tmp_path,
        "i/._a.jpg",
        "i/notes.txt",
        "l/a_colour.png",
        "i/.ipynb_checkpoints/a.jpg",
        "l/.old/c_mask.png",
    )
    pairs = listed(tmp_path)
    assert [pair.name for pair in pairs] == ["a", "b", "sub dir/ä"]
    assert pairs[2].image == tmp_path / "i/sub dir/ä.jpg"
    assert pairs[2].label == tmp_path / "l/sub dir/ä_mask.png"
    assert listed(tmp_path, limit=2) == pairs[:2]


def test_a_folder_of_hidden_files_alone_holds_none(tmp_path):
    files(tmp_path, "i/.cache/a.jpg", "i/._a.jpg", "l/a_mask.png")
    with pytest.raises(DataError, match=r"i holds no \*\.jpg\. Expected: LAYOUT"):
        listed(tmp_path)


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


def test_names_may_end_in_several_ways(tmp_path):
    files(tmp_path, "i/a.jpg", "i/b.JPG", "i/c.png", "l/a_mask.png", "l/b_mask.png", "l/c_mask.tif")
    pairs = listed(tmp_path, suffixes=((".jpg", ".JPG", ".png"), ("_mask.png", "_mask.tif")))
    assert [(pair.image.name, pair.label.name) for pair in pairs] == [
        ("a.jpg", "a_mask.png"), ("b.JPG", "b_mask.png"), ("c.png", "c_mask.tif"),
    ]  # fmt: skip
    files(tmp_path, "i/a.png")
    with pytest.raises(DataError, match=r"i/a.(png|jpg) and .*i/a.(png|jpg) have one name; remove or rename"):
        listed(tmp_path, suffixes=((".jpg", ".JPG", ".png"), ("_mask.png", "_mask.tif")))


def test_a_partner_with_more_to_its_name_is_pointed_at(tmp_path):
    files(tmp_path, "i/a.jpg", "l/a_mask.png")
    with pytest.raises(
        DataError,
        match=r"has no label .*there is .*l/a_mask.png: if that is it, give dataset.mask_suffix=_mask.png,",
    ):
        listed(tmp_path, suffixes=(".jpg", ".png"), where="dataset.fit")
    with pytest.raises(DataError, match=r"has no label .*add the label or remove the image"):
        listed(tmp_path, suffixes=(".jpg", ".png"))  # of CamVid, whose suffixes are no keys


def test_an_image_of_another_ending_is_pointed_at(tmp_path):
    files(tmp_path, "i/a.jpg", "i/b.JPG", "l/a_mask.png", "l/b_mask.png")
    with pytest.raises(
        DataError, match=r"b_mask.png has no image .*b.JPG: .* give dataset.image_suffix=.JPG, or add that to"
    ):
        listed(tmp_path, where="dataset.fit")
    assert len(listed(tmp_path, where="dataset.fit", suffixes=((".jpg", ".JPG"), ("_mask.png",)))) == 2


def test_only_some_names_are_taken(tmp_path, caplog):
    files(tmp_path, "i/d1_a.jpg", "i/d2_a.jpg", "i/d3_a.jpg", "l/d1_a_mask.png", "l/d2_a_mask.png")
    assert [pair.name for pair in listed(tmp_path, only=["d2_*", "d1_?"])] == ["d1_a", "d2_a"]
    with pytest.raises(
        DataError, match=r"dataset.fit.only has 'd9_\*', .* no image; the first one is 'd1_a'"
    ):
        listed(tmp_path, only=["d9_*"], where="dataset.fit")
    assert len(listed(tmp_path, only=["d1_*", "d9_*"], where="dataset.fit")) == 1
    assert "'d9_*', which is the name of no image" in caplog.text


def of_list(root, text):
    (root / "train.txt").write_text(text)
    suffixes = ((".jpg",), ("_mask.png",))
    return pairs_of_list(root / "i", root / "l", root / "train.txt", suffixes=suffixes, layout="LAYOUT")


def test_a_list_names_its_pairs_in_its_order_and_leaves_the_others_alone(tmp_path):
    files(tmp_path, "i/a.jpg", "i/s/b.jpg", "i/c.jpg", "l/a_mask.png", "l/s/b_mask.png", "l/d_mask.png")
    pairs = of_list(tmp_path, "s/b\n\n a.jpg \n")
    assert [pair.name for pair in pairs] == ["s/b", "a"]
    assert pairs[0].label == tmp_path / "l/s/b_mask.png"


def test_a_list_may_have_comments_and_further_columns(tmp_path):
    files(tmp_path, "i/a b.jpg", "i/c.jpg", "l/a b_mask.png", "l/c_mask.png")
    pairs = of_list(tmp_path, "# name class species\na b\nc 1 1 1\n")
    assert [pair.name for pair in pairs] == ["a b", "c"]


@pytest.mark.parametrize(
    "line",
    ["i/s/b.jpg", "/elsewhere/data/i/s/b.jpg /elsewhere/data/l/s/b_mask.png", "./i/s/b l/s/b_mask.png"],
)
def test_a_list_may_name_paths(tmp_path, line):
    files(tmp_path, "i/s/b.jpg", "l/s/b_mask.png")
    assert [pair.name for pair in of_list(tmp_path, line)] == ["s/b"]


def test_a_list_may_have_names_with_spaces_and_endings_that_masks_have_too(tmp_path):
    files(tmp_path, "i/my image 0.png", "l/my image 0.png", "i/0.png", "l/0.png")
    (tmp_path / "train.txt").write_text("my image 0.png\n0.png 0.png\n")
    pairs = pairs_of_list(
        tmp_path / "i", tmp_path / "l", tmp_path / "train.txt", suffixes=((".png",), (".png",)), layout=""
    )
    assert [pair.name for pair in pairs] == ["my image 0", "0"]


def test_accents_may_be_written_in_either_way(tmp_path):
    one, two = (unicodedata.normalize(form, "tür") for form in ("NFC", "NFD"))
    assert one != two
    files(tmp_path, f"i/{one}.jpg", f"l/{two}_mask.png", f"i/{two}s/a.jpg", f"l/{one}s/a_mask.png", "i/b.jpg")
    files(tmp_path, "l/b_mask.png")
    assert [pair.name for pair in listed(tmp_path)] == ["b", one, f"{one}s/a"]
    for pattern in (one, two):
        assert [pair.name for pair in listed(tmp_path, only=[f"{pattern}*"])] == [one, f"{one}s/a"]
        assert [pair.name for pair in of_list(tmp_path, f"{pattern}\ni/{pattern}s/a.jpg")] == [
            one,
            f"{one}s/a",
        ]
    assert of_list(tmp_path, two)[0].label == tmp_path / f"l/{two}_mask.png"
    files(tmp_path, f"i/{two}.jpg")
    with pytest.raises(DataError, match=r"have one name; remove or rename one of them"):
        listed(tmp_path)


def test_a_list_that_names_another_label_is_refused(tmp_path):
    files(tmp_path, "i/a.jpg", "i/b.jpg", "l/a_mask.png", "l/b_mask.png")
    with pytest.raises(
        DataError, match=r"line 1: the label of a would be .*l/a_mask.png and not l/b_mask.png; give"
    ):
        of_list(tmp_path, "i/a.jpg l/b_mask.png")


def test_pictures_of_other_endings_are_told(tmp_path, caplog):
    files(
        tmp_path, "i/a.jpg", "l/a_mask.png", "i/b.JPG", "i/c.png", "i/notes.txt", "l/b_mask.PNG", "i/._c.png"
    )
    assert len(listed(tmp_path, where="dataset.fit")) == 1
    assert "holds 2 other pictures, which are not used, such as b.JPG" in caplog.text
    caplog.clear()
    files(tmp_path, "both/a.jpg", "both/a_mask.png")
    list_pairs(
        tmp_path / "both",
        tmp_path / "both",
        suffixes=((".jpg",), ("_mask.png",)),
        layout="",
        where="dataset.fit",
    )
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "train.txt names no image"),
        ("a\nb\n", r"train.txt, line 2: there is no .*i/b.jpg"),
        ("c\n", r"train.txt, line 1: there is no .*l/c_mask.png"),
        ("/set/i/b.jpg /set/l/b_mask.png\n", r"train.txt, line 1: there is no \S*i/b.jpg; restore"),
        ("/set/i/b.png /set/l/b_mask.png\n", r"train.txt, line 1: there is no \S*i/b.png; restore"),
        ("b c\n", r"train.txt, line 1: there is no \S*i/b c.jpg; restore"),
        ("a\na.jpg\n", r"train.txt, line 2: a.jpg is there twice"),
    ],
)
def test_a_list_that_names_no_pair_is_refused(tmp_path, text, fault):
    files(tmp_path, "i/a.jpg", "i/c.jpg", "l/a_mask.png")
    with pytest.raises(DataError, match=fault):
        of_list(tmp_path, text)


def test_a_list_that_is_missing_is_named(tmp_path):
    files(tmp_path, "i/a.jpg", "l/a_mask.png")
    with pytest.raises(DataError, match=r"none.txt cannot be read .*a text of one image name a line"):
        pairs_of_list(
            tmp_path / "i", tmp_path / "l", tmp_path / "none.txt",
            suffixes=((".jpg",), ("_mask.png",)), layout="LAYOUT",
        )  # fmt: skip
