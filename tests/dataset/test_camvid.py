import numpy as np
import pytest

from segprune.dataset.camvid import camvid
from segprune.errors import ConfigError, DataError
from tests.dataset.trees import ALL, OFF, camvid_tree, labels, touched


@pytest.fixture
def make(tmp_path):
    root = camvid_tree(tmp_path / "Cam Vid ü", {"train": 4, "val": 3, "test": 2})

    def build(**changes):
        arguments = {
            "root": root, "size_hw": (6, 8), "select": "val", "report_split": "test", "limit": None,
            "augment": OFF, "seed": 0, "cache_dir": tmp_path / "cache", "cache_mb": 10,
        }  # fmt: skip
        return camvid(**(arguments | changes))

    build.root = root
    return build


def test_splits_become_roles_and_void_is_ignored(make):
    data = make()
    assert [len(role) for role in (data.fit, data.calibration, data.select, data.report)] == [4, 4, 3, 2]
    assert (len(data.classes), data.ignore_index, data.report_split) == (11, 11, "test")
    assert np.array_equal(data.report[1].label.numpy(), labels(201, 12))


def test_val_can_be_reported_when_it_chooses_nothing(make):
    data = make(select=None, report_split="val")
    assert data.select is None
    assert (data.report_split, len(data.report)) == ("val", 3)


def test_reported_split_must_not_choose_the_epoch(make):
    with pytest.raises(
        ConfigError, match=r"dataset.select and dataset.report_split are both 'val'.*select=null"
    ):
        make(report_split="val")


def test_limit_takes_the_first_images_of_every_split(make):
    data = make(limit=2)
    assert [len(role) for role in (data.fit, data.select, data.report)] == [2, 2, 2]
    assert np.array_equal(data.select[1].label.numpy(), labels(101, 12))


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({"report_split": "val"}, {"report"}),
        ({"select": "val"}, {"select"}),
        ({"limit": 1}, ALL - {"select"}),
        ({"size_hw": (8, 6)}, ALL - {"select"}),
        ({"augment": {**OFF, "jitter": 0.1}}, {"fit"}),
        ({"seed": 1}, {"fit"}),
        ({"cache_mb": 0}, set()),
    ],
)
def test_each_option_touches_the_identity_of_its_roles_only(make, changes, roles):
    assert touched(make(select=None).identity, make(**({"select": None} | changes)).identity) == roles


def test_missing_split_folder_is_named_with_the_layout(make):
    (make.root / "valannot").rename(make.root / "val_labels")
    with pytest.raises(DataError, match=r"valannot is missing. Expected: train/\*.png with trainannot"):
        make()


def test_missing_root_is_named_with_the_layout_and_the_key(make, tmp_path):
    with pytest.raises(DataError, match=r"dataset.root=.*nowhere is not a folder. Expected: train/\*.png"):
        make(root=tmp_path / "nowhere")
