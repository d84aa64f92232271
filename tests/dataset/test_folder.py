import numpy as np
import pytest

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
            "root": root, "fit": {"images": "a/img", "masks": "a/msk"},
            "select": {"images": "b/img", "masks": "b/msk"},
            "report": {"images": "c/img", "masks": "c/msk"}, "image_suffix": ".png", "mask_suffix": "_m.png",
            "classes": ("x", "y", "z"), "palette": None, "ignore_index": 255, "size_hw": (6, 8), "limit": None,
            "augment": OFF, "seed": 0, "cache_dir": tmp_path / "cache", "cache_mb": 10,
        }  # fmt: skip
        return folder(**(arguments | changes))

    return build


def test_roles_come_from_their_folders_with_labels_at_their_own_size(make):
    data = make()
    assert [len(role) for role in (data.fit, data.select, data.report)] == [3, 3, 3]
    assert [tuple(item.label.shape) for item in data.report] == SIZES
    assert {tuple(item.image.shape) for item in data.report} == {(3, 6, 8)}
    assert np.array_equal(data.report[1].label.numpy(), labels(1, 3, SIZES[1]))


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
        ({"cache_mb": 0}, set()),
    ],
)
def test_each_option_touches_the_identity_of_its_roles_only(make, changes, roles):
    assert touched(make().identity, make(**changes).identity) == roles


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


def test_ignore_index_that_is_a_class_is_refused(make):
    with pytest.raises(ConfigError, match=r"dataset.ignore_index is 2, which is class 'z'"):
        make(ignore_index=2)


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
