import numpy as np
import pytest

from segprune.dataset.cityscapes import cityscapes
from segprune.errors import ConfigError, DataError
from tests.dataset.trees import ALL, picture, save, touched

ALL_IDS = np.array([*range(34), 255] + [0] * 13, np.uint8).reshape(6, 8)
# The published table, id -> train id; every other id is ignored.
TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
    28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip
EXPECTED = np.array([TRAIN_IDS.get(int(value), 255) for value in ALL_IDS.ravel()]).reshape(6, 8)


def add(root, split, city, frames, kind, label):
    for frame in frames:
        stem = f"{city}/{city}_{frame:06d}_000019"
        save(root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png", picture(frame, label.shape))
        save(root / "gtFine" / split / f"{stem}_gtFine_{kind}.png", label)
        save(root / "gtFine" / split / f"{stem}_gtFine_color.png", picture(frame, label.shape))


@pytest.fixture
def make(tmp_path):
    def build(kind="labelIds", label=ALL_IDS, **changes):
        root = tmp_path / kind
        add(root, "train", "aachen", range(6), kind, label)
        add(root, "train", "bonn", range(6, 10), kind, label)
        add(root, "val", "ulm", range(10, 12), kind, label)
        arguments = {
            "root": root, "size_hw": (3, 4), "crop_hw": (4, 4), "select_fraction": 0.2, "select_seed": 0,
            "limit": None, "augment": {"scale": (0.5, 2.0), "flip": 0.5, "jitter": 0.0}, "seed": 0,
            "cache_dir": tmp_path / "cache", "cache_mb": 10,
        }  # fmt: skip
        return cityscapes(**(arguments | changes))

    return build


def test_label_ids_are_mapped_by_the_published_table(make):
    data = make()
    assert np.array_equal(data.report[0].label.numpy(), EXPECTED)
    assert len(data.report) == 2
    assert data.report_split == "val"


def test_train_ids_are_taken_as_they_are(make):
    data = make(kind="labelTrainIds", label=EXPECTED.astype(np.uint8))
    assert np.array_equal(data.report[0].label.numpy(), EXPECTED)


def test_id_that_cityscapes_does_not_have_is_refused(make):
    wrong = ALL_IDS.copy()
    wrong[0, 0] = 40
    with pytest.raises(DataError, match=r"labelIds.png has label values \[40\]; allowed are 0..18 and 255"):
        make(label=wrong)


def test_select_slice_leaves_the_training_images(make):
    data = make()
    assert (len(data.fit), len(data.select)) == (8, 2)  # a fifth of 10
    fit = {data.calibration[i].image.numpy().tobytes() for i in range(8)}
    select = {data.select[i].image.numpy().tobytes() for i in range(2)}
    assert len(fit | select) == 10


def test_slice_depends_on_its_own_seed_and_not_on_that_of_the_run(make):
    def chosen(**changes):
        return {item.image.numpy().tobytes() for item in make(**changes).select}

    assert chosen() == chosen(seed=5)
    assert len({frozenset(chosen(select_seed=seed)) for seed in range(6)}) > 1


def test_no_fraction_means_no_select_role(make):
    data = make(select_fraction=0.0)
    assert data.select is None
    assert len(data.fit) == 10


def test_training_crops_have_their_own_size(make):
    data = make()
    assert data.fit[0].image.shape == (3, 4, 4)
    assert data.calibration[0].label.shape == (3, 4)
    assert data.report[0].image.shape == (3, 3, 4)


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({"select_fraction": 0.4}, ALL - {"report"}),
        ({"select_fraction": 0.0}, ALL - {"report"}),
        ({"select_seed": 1}, ALL - {"report"}),
        ({"limit": 5}, ALL - {"report"}),  # val has two images
        ({"size_hw": (6, 8)}, ALL - {"fit"}),
        ({"crop_hw": (4, 8)}, {"fit"}),
        ({"augment": {"scale": None, "flip": 0.5, "jitter": 0.0}}, {"fit"}),
        ({"seed": 1}, {"fit"}),
        ({"cache_mb": 0}, set()),
    ],
)
def test_each_option_touches_the_identity_of_its_roles_only(make, changes, roles):
    assert touched(make().identity, make(**changes).identity) == roles


def test_fraction_that_leaves_nothing_to_train_on_is_refused(make):
    with pytest.raises(ConfigError, match=r"select_fraction=0.5 of 1 training images leaves none"):
        make(limit=1, select_fraction=0.5)


def test_missing_root_is_named_with_the_layout(make, tmp_path):
    with pytest.raises(
        DataError, match=r"dataset.root=.*nowhere is not a folder. Expected: leftImg8bit/\{train,val\}"
    ):
        make(root=tmp_path / "nowhere")
