from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segprune.dataset.folder import folder
from segprune.errors import ConfigError, DataError
from tests.dataset.trees import ALL, OFF, labels, picture, save, touched

SIZES = [(12, 16), (10, 10), (10, 10)]


@pytest.fixture
def make(tmp_path):
    root = tmp_path / "my data"
    for role in ("a", "b", "c"):
        for k, size in enumerate(SIZES):
            save(root / role / "img" / f"{k}.png", picture(k, size))
            save(root / role / "msk" / f"{k}_m.png", labels(k, 3, size))

    save(root / "other" / "img" / "0.png", picture(9))
    save(root / "other" / "msk" / "0_m.png", labels(9, 3))

    def build(**changes):
        arguments = {
            "name": "mine", "report_split": "report", "pairs": None, "split": None, "split_seed": 0,
            "fit": {"images": "a/img", "masks": "a/msk"},
            "select": {"images": "b/img", "masks": "b/msk"},
            "report": {"images": "c/img", "masks": "c/msk"}, "image_suffix": ".png", "mask_suffix": "_m.png",
            "classes": ("x", "y", "z"), "palette": None, "ignore_index": 255,
            "values": None, "colours": None, "exif": None, "allow_absent": (), "size_hw": (6, 8), "limit": None,
            "augment": OFF, "seed": 0, "cache_dir": tmp_path / "cache", "cache_mb": 10,
            "bands": 3, "mean": None, "std": None, "crop_hw": None,
        }  # fmt: skip
        return folder(**(arguments | changes))

    return partial(build, root=root)


def test_roles_come_from_their_folders_with_labels_at_their_own_size(make):
    data = make()
    assert [len(role) for role in (data.fit, data.select, data.report)] == [3, 3, 3]
    assert [tuple(item.label.shape) for item in data.report] == SIZES
    assert {tuple(item.image.shape) for item in data.report} == {(3, 6, 8)}
    assert np.array_equal(data.report[1].label.numpy(), labels(1, 3, SIZES[1]))


OTHER_FOLDER = {"images": "nowhere", "masks": "nowhere"}
OTHER = {"images": "other/img", "masks": "other/msk"}


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({"fit": OTHER}, {"fit", "calibration"}),
        ({"select": OTHER}, {"select"}),
        ({"select": None}, {"select"}),
        ({"report": OTHER}, {"report"}),
        ({"limit": 2}, ALL),
        ({"classes": ("x", "y", "w")}, ALL),
        ({"ignore_index": 254}, ALL),
        ({"palette": ((1, 2, 3), (4, 5, 6), (7, 8, 9))}, set()),
        ({"size_hw": (8, 6)}, ALL),
        ({"augment": {**OFF, "flip": 0.1}}, {"fit"}),
        ({"seed": 1}, {"fit"}),
        ({"name": "other", "report_split": "test"}, set()),
        ({"split": (0.5, 0.5, 0), "select": OTHER_FOLDER}, {"fit", "calibration", "select"}),
        ({"cache_mb": 0}, set()),
        ({"values": {2: 1, 1: 2}}, ALL),
        ({"allow_absent": ("x",)}, set()),
        ({"exif": "apply"}, set()),
    ],
)
def test_each_option_touches_the_identity_of_its_roles_only(make, changes, roles):
    assert touched(make().identity, make(**changes).identity) == roles


def test_a_table_of_pairs_touches_the_roles_that_it_changes(make):
    data = make()
    (make.keywords["root"] / "same.csv").write_text(data.files)
    assert touched(data.identity, make(pairs="same.csv").identity) == set()
    lines = data.files.splitlines(keepends=True)
    (make.keywords["root"] / "fewer.csv").write_text("".join(lines[:-1]))
    assert touched(data.identity, make(pairs="fewer.csv").identity) == {"report"}


def test_palette_is_made_or_given(make):
    assert make().palette == ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    given = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert make(palette=given).palette == given


def test_select_role_is_optional(make):
    assert make(select=None).select is None


def test_two_roles_on_one_folder_are_refused(make):
    with pytest.raises(ConfigError, match=r"dataset.report.images and dataset.fit.images are both a/./img"):
        make(report={"images": "a/./img", "masks": "a/msk"})


def test_images_that_are_their_own_masks_are_refused(make):
    with pytest.raises(
        ConfigError, match=r"dataset.fit: images and masks are both a/img/\*.png; set dataset.image_suffix"
    ):
        make(fit={"images": "a/img", "masks": "a/img"}, mask_suffix=".png")


def test_ignore_index_that_is_a_class_is_refused_with_remedies_that_work(make):
    with pytest.raises(
        ConfigError,
        match=r"is 0, which is class 'x'.*give 'dataset.values=\{0: ignore, 1: 0, 2: 1, 3: 2\}' .*"
        r"give 'dataset.classes=\[y,z\]' 'dataset.values=\{0: ignore, 1: 0, 2: 1\}' dataset.ignore_index=255",
    ):
        make(ignore_index=0)
    data = make(classes=("y", "z"), values={0: "ignore", 1: 0, 2: 1}, ignore_index=255)
    stored = labels(0, 3, SIZES[0])
    assert data.report[0].label.numpy().tolist() == np.where(stored == 0, 255, stored - 1).tolist()


WHITE = [(2 * labels(k, 2, size)).clip(0, 1) * 255 for k, size in enumerate(SIZES)]


@pytest.fixture
def black_and_white(make):
    root = make.keywords["root"]
    for role in ("a", "b", "c"):
        for k, mask in enumerate(WHITE):
            save(root / role / "msk" / f"{k}_m.png", mask)


def test_black_and_white_masks_are_refused_with_a_remedy_that_works(make, black_and_white):
    with pytest.raises(
        DataError,
        match=r"no training mask holds the class crack; the masks hold 0, 255. 255 is dataset.ignore_index, .*"
        r"give 'dataset.values=\{255: 1\}'; if not, 'dataset.allow_absent=\[crack\]'",
    ):
        make(classes=("ground", "crack"))
    data = make(classes=("ground", "crack"), values={255: 1})
    assert np.array_equal(data.report[1].label.numpy(), WHITE[1] // 255)
    assert data.summary["fit"].pixels[1] == sum(int((mask > 0).sum()) for mask in WHITE)
    assert make(classes=("ground", "crack"), allow_absent=("crack",)).summary["fit"].absent(("g", "c")) == [
        "c"
    ]


def test_a_class_that_no_training_mask_holds_is_refused_with_a_remedy_that_works(make, caplog):
    four = ("x", "y", "z", "w")
    with pytest.raises(
        DataError, match=r"holds the class w; the masks hold 0, 1, 2. .*'dataset.allow_absent=\[w\]'"
    ):
        make(classes=four)
    assert make(classes=four, allow_absent=("w",)).summary["fit"].pixels[3] == 0
    assert "no training mask holds the class w, so no network can learn it" in caplog.text
    with pytest.raises(
        ConfigError, match=r"dataset.allow_absent names 'v', which is no class; allowed are x, y, z, w"
    ):
        make(classes=four, allow_absent=("v",))


def test_colour_masks_are_the_same_data_as_their_numbers(make):
    colours, root = {"x": (0, 0, 0), "y": [(9, 8, 7), (9, 8, 6)], "z": (255, 0, 0)}, make.keywords["root"]
    numbers = make()
    before = [item.label for item in numbers.report]
    paint = np.array([(0, 0, 0), (9, 8, 7), (255, 0, 0)], np.uint8)
    for role in ("a", "b", "c"):
        for k, size in enumerate(SIZES):
            save(root / role / "msk" / f"{k}_m.png", paint[labels(k, 3, size)])
    painted = make(colours=colours)
    assert all(map(torch.equal, before, (item.label for item in painted.report)))
    assert painted.summary["fit"].pixels == numbers.summary["fit"].pixels
    with pytest.raises(
        DataError,
        match=r"0_m.png has colours that dataset.colours does not name: \[255, 0, 0\] \(\d+ px\).* panoptic PNG .*"
        r"stuffthingmaps_trainval2017",
    ):
        make(colours={**colours, "z": (254, 0, 0)})
    (root / "legend.csv").write_text("name;r;g;b\nx;0;0;0\ny;9;8;7\nz;255;0;0\n")
    assert (
        make(colours=Path("legend.csv")).identity.report == make(colours=root / "legend.csv").identity.report
    )


def test_files_with_an_exif_tag_need_a_word_on_how_they_lie(make):
    tag, root = Image.Exif(), make.keywords["root"]
    tag[274] = 6
    Image.fromarray(picture(0, SIZES[0])).save(root / "c/img/0.png", exif=tag)
    with pytest.raises(
        DataError, match=r"c/img/0.png has the EXIF orientation 6, .*dataset.exif=apply; .*=ignore"
    ):
        make()
    with pytest.raises(
        DataError, match=r"0.png is 12x16 but its label .* is 16x12; .*try dataset.exif=ignore"
    ):
        make(exif="apply")
    as_stored = make(exif="ignore")
    save(root / "c/msk/0_m.png", np.rot90(labels(0, 3, SIZES[0]), -1).copy())
    turned = make(exif="apply")
    assert np.array_equal(turned.report[0].label.numpy(), np.rot90(labels(0, 3, SIZES[0]), -1))
    assert touched(as_stored.identity, turned.identity) == {"report"}


def test_alpha_is_said(make, caplog):
    Image.fromarray(picture(0, SIZES[0])).convert("RGBA").save(make.keywords["root"] / "c/img/0.png")
    assert make().summary["report"].modes == {"RGB": 2, "RGBA": 1}
    assert "1 images have an alpha band, which is not used; the first one is" in caplog.text


def test_a_fourth_band_that_is_used_is_not_called_unused(make, caplog):
    for path in make.keywords["root"].glob("*/img/*.png"):
        Image.open(path).convert("RGBA").save(path)
    assert make(bands=4).report[0].image.shape[0] == 4
    assert "alpha" not in caplog.text


def test_mask_value_beyond_the_classes_is_refused(make):
    with pytest.raises(DataError, match=r"_m.png has label values \[2\]; allowed are 0..1 and 255"):
        make(classes=("x", "y"))


def test_missing_folder_is_named_with_the_layout(make):
    with pytest.raises(
        DataError, match=r"d/img is missing. Expected: fit: a/img/\*.png with a/msk/\*_m.png; report"
    ):
        make(report={"images": "d/img", "masks": "d/msk"})


@pytest.mark.parametrize("where", [".", "a/img/sub"])
def test_a_role_inside_of_another_is_refused(make, where):
    with pytest.raises(
        ConfigError,
        match=rf"dataset.report.images and dataset.fit.images lie in one another: {where} and a/img:",
    ):
        make(report={"images": where, "masks": "c/msk"})


def test_roles_may_share_a_folder_when_lists_say_whose_an_image_is(make):
    root = make.keywords["root"]
    for name, names in (("train", "0"), ("test", "2\n1")):
        (root / f"{name}.txt").write_text(names)
    shared = {"images": "a/img", "masks": "a/msk"}
    roles = {"fit": {**shared, "list": "train.txt"}, "report": {**shared, "list": "test.txt"}, "select": None}
    data = make(**roles)
    assert (len(data.fit), len(data.report)) == (1, 2)
    assert np.array_equal(data.report[1].label.numpy(), labels(1, 3, SIZES[1]))
    with pytest.raises(ConfigError, match=r"give dataset.report its own folder, give both a list"):
        make(**{**roles, "report": shared})
    (root / "test.txt").write_text("2\n0")
    with pytest.raises(
        ConfigError, match=r"0.png is in dataset.fit and in dataset.report: .*out of test.txt"
    ):
        make(**roles)


def deep(folder, bands):
    """Images of 16 bits in the place of those of the fixture, as TIFF."""
    tifffile = pytest.importorskip("tifffile", reason="needs the extra tiff")
    rng = np.random.default_rng(0)
    for role in "abc":
        for k, size in enumerate(SIZES):
            pixels = rng.integers(1000, 3000, (*size, bands), dtype=np.uint16)
            tifffile.imwrite(
                folder / role / "img" / f"{k}.tif", pixels, photometric="minisblack", planarconfig="contig"
            )


@pytest.mark.parametrize("bands", [2, 4, 20])
def test_images_of_many_bands_and_16_bits_are_items_like_others(make, tmp_path, bands, caplog):
    deep(make.keywords["root"], bands)
    with caplog.at_level("INFO"):
        data = make(image_suffix=".tif", bands=bands, augment={**OFF, "crop_area": (0.4, 1.0), "jitter": 0.2})
    assert f"images have {bands} bands of 16 bits" in caplog.text
    assert "(dataset.augment.jitter) are left out" in caplog.text
    assert (data.bands.count, data.bands.bits) == (bands, 16)
    assert all(1000 / 65535 < mean < 3000 / 65535 for mean in data.bands.mean)
    for role in (data.fit, data.calibration, data.report):
        image = role[1].image
        assert image.shape == (bands, 6, 8)
        assert 900 / 65535 < float(image.min()) <= float(image.max()) < 3100 / 65535


def test_wrong_bands_are_refused_with_the_number_that_works(make):
    deep(make.keywords["root"], 5)
    with pytest.raises(DataError, match=r"has 5 bands and dataset\.bands is 4; give dataset\.bands=5"):
        make(image_suffix=".tif", bands=4)
    assert make(image_suffix=".tif", bands=5).bands.count == 5


def test_images_of_8_and_of_16_bits_do_not_mix(make):
    root = make.keywords["root"]
    save(root / "a" / "img" / "0.png", labels(0, 200, SIZES[0]).astype(np.uint16) * 256)
    with pytest.raises(
        DataError, match=r"has 8 bits and .*0\.png has 16; all images of a dataset must be alike"
    ):
        make()


def test_rgb_is_normalised_by_given_numbers(make):
    assert make().bands is None
    assert make(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 0.5)).bands.std == (1.0, 1.0, 0.5)


def test_crops_are_smaller_than_images_on_request_and_not_larger(make):
    data = make(crop_hw=(3, 4), augment={**OFF, "crop_area": (0.4, 1.0)})
    assert data.fit[0].image.shape[1:] == (3, 4)
    assert data.report[0].image.shape[1:] == (6, 8)
    assert data.identity.fit != make(augment={**OFF, "crop_area": (0.4, 1.0)}).identity.fit
    with pytest.raises(ConfigError, match=r"crop_hw is \[6, 9\].*size_hw=\[6, 8\].*crop_hw=null"):
        make(crop_hw=(6, 9))
