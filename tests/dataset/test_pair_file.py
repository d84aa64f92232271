"""A CSV of pairs says which file serves which role; every other one is refused with its line."""

import unicodedata
from pathlib import Path

import pytest

from segprune.dataset.pair_file import as_csv, read_pairs
from segprune.errors import DataError
from tests.dataset.trees import labels, picture, save


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        save(tmp_path / f"x/{name}.png", picture(0))
        save(tmp_path / f"y/{name}.png", labels(0, 2))
    return tmp_path


def written(root: Path, text: str) -> Path:
    (root / "pairs.csv").write_text(text)
    return root / "pairs.csv"


def test_what_is_written_is_what_is_read(root: Path) -> None:
    text = "image,mask,role\nx/a.png,y/a.png,fit\nx/c.png,y/c.png,fit\nx/b.png,y/b.png,report\n"
    found = read_pairs(written(root, text), root)
    assert {role: [pair.name for pair in pairs] for role, pairs in found.items()} == {
        "fit": ["x/a", "x/c"],
        "report": ["x/b"],
    }
    assert as_csv(found, root) == text
    elsewhere = as_csv(found, root / "x")
    assert f"a.png,{root}/y/a.png,fit" in elsewhere
    assert read_pairs(written(root, elsewhere), root / "x")["report"][0].label == root / "y/b.png"


def test_accents_may_be_written_in_either_way(root: Path) -> None:
    one, two = (unicodedata.normalize(form, "x/tür.png") for form in ("NFC", "NFD"))
    for stored, told in ((one, two), (two, one)):
        (root / "x/a.png").rename(root / stored)
        (pair,) = read_pairs(written(root, f"image,mask\n{told},y/a.png\n"), root)[""]
        assert pair.image == root / stored
        (root / stored).rename(root / "x/a.png")


def test_roles_have_the_names_that_people_give_them_and_columns_any_order(root: Path) -> None:
    text = "Role, mask, image\nTRAIN, y/a.png, x/a.png\n\nval, y/b.png, x/b.png\ntest, y/c.png, x/c.png\n"
    assert [*read_pairs(written(root, text), root)] == ["fit", "select", "report"]
    assert [*read_pairs(written(root, "image,mask\nx/a.png,y/a.png\n"), root)] == [""]


@pytest.mark.parametrize("text", ["image;mask\n{}/x/a.png;y/a.png\n", "image\tmask\nx/a.png\ty/a.png"])
def test_a_spreadsheet_may_part_cells_its_own_way(root: Path, text: str) -> None:
    file = root / "pairs.csv"
    file.write_text(text.format(root), encoding="utf-8-sig")
    assert [pair.label for pair in read_pairs(file, root)[""]] == [root / "y/a.png"]


def test_a_mask_that_serves_several_images_is_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_pairs(written(root, "image,mask\nx/a.png,y/a.png\nx/b.png,y/a.png\n"), root)
    assert "gives one mask to several images: " in caplog.text
    assert "y/a.png to 2 of them" in caplog.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "begins with ''; it must be a CSV whose first line is image,mask or image,mask,role"),
        ("x/a.png,y/a.png\n", "begins with 'x/a.png,y/a.png'; it must be"),
        ("image,mask\n", "names no image"),
        ("image,mask\nx/a.png\n", r"line 2: it has not a value for each of image, mask"),
        ("image,mask\nx/a.png,y/z.png\n", r"line 2: there is no .*y/z.png; restore it or remove the line"),
        (
            "image,mask\nx\\a.png,y\\a.png\n",
            r"line 2: there is no .*; restore it or remove the line, write / for",
        ),
        ("image,mask\nx/a.png,y/a.png\nx/../x/a.png,y/b.png\n", r"line 3: x/../x/a.png is in line 2 too"),
        ("image,mask,role\nx/a.png,y/a.png,dev\n", r"line 2: the role is 'dev'; write fit, select or report"),
    ],
)
def test_a_file_that_names_no_pairs_is_refused(root: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_pairs(written(root, text), root)


def test_a_file_that_is_missing_is_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"dataset.pairs=.*none.csv cannot be read"):
        read_pairs(root / "none.csv", root)
