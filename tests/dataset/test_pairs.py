import dataclasses

import numpy as np
import pytest

from segprune.dataset import file_source
from segprune.dataset.augment import resized_crop
from segprune.dataset.labels import CAMVID
from segprune.dataset.pairing import Pair
from segprune.dataset.pairs import PairSet, Reading, pair_data
from segprune.errors import DataError
from tests.dataset.trees import ALL, OFF, labels, picture, save, touched


@pytest.fixture
def pairs(tmp_path):
    root = tmp_path / "data"
    made = [
        Pair(str(k), save(root / f"i/{k}.png", picture(k)), save(root / f"l/{k}.png", labels(k, 12)))
        for k in range(4)
    ]
    return PairSet(
        name="tiny", root=root, space=CAMVID, lookup=None,
        fit=tuple(made[:2]), select=(made[2],), report=(made[3],), report_split="test",
    )  # fmt: skip


@pytest.fixture
def reading(tmp_path):
    return Reading(
        size_hw=(6, 8),
        augmentation=resized_crop(OFF, (6, 8)),
        seed=0,
        cache_dir=tmp_path / "cache",
        cache_mb=1,
    )


def changed(data_class, **changes):
    return dataclasses.replace(data_class, **changes)


def test_roles_have_their_sizes_and_files(pairs, reading):
    data = pair_data(pairs, reading)
    assert [len(role) for role in (data.fit, data.calibration, data.select, data.report)] == [2, 2, 1, 1]
    assert data.fit[0].label.shape == data.calibration[0].label.shape == (6, 8)
    assert np.array_equal(data.select[0].label.numpy(), labels(2, 12))
    assert np.array_equal(data.report[0].label.numpy(), labels(3, 12))
    assert (data.classes, data.ignore_index, data.size_hw) == (CAMVID.classes, 11, (6, 8))


def test_report_images_in_a_row_are_counted(pairs, reading):
    assert pair_data(pairs, reading).report_frames == 0
    assert pair_data(changed(pairs, report=pairs.fit), reading).report_frames == 1  # 0.png and 1.png


def test_no_select_role_stays_none(pairs, reading):
    assert pair_data(changed(pairs, select=None), reading).select is None


def test_image_and_label_of_other_size_are_refused(pairs, reading):
    save(pairs.fit[1].label, labels(1, 12, (12, 15)))
    with pytest.raises(
        DataError, match=r"i/1.png is 16x12 but its label .*l/1.png is 15x12; regenerate the label"
    ):
        pair_data(pairs, reading)


def test_label_value_that_is_no_class_is_refused_with_the_allowed_ones(pairs, reading):
    wrong = labels(3, 12)
    wrong[0, :2] = (12, 200)
    save(pairs.report[0].label, wrong)
    with pytest.raises(
        DataError, match=r"l/3.png has label values \[12, 200\]; allowed are 0..10 and 11 \(ignored\)"
    ):
        pair_data(pairs, reading)


def test_lookup_decides_which_stored_values_are_allowed(pairs, reading):
    lookup = tuple(11 if value == 0 else 77 if value == 5 else 1 for value in range(256))
    with pytest.raises(DataError, match=r"has label values \[5\]; allowed are 0..10 and 11"):
        pair_data(changed(pairs, lookup=lookup), reading)


def test_cut_off_file_is_refused_before_any_item_is_asked_for(pairs, reading):
    content = pairs.report[0].image.read_bytes()
    pairs.report[0].image.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"i/3.png cannot be decoded.*restore it"):
        pair_data(pairs, reading)


def test_identity_is_the_same_in_another_place_and_after_a_restart(pairs, reading, tmp_path):
    here = pair_data(pairs, reading).identity
    assert pair_data(pairs, reading).identity == here
    moved = tmp_path / "moved elsewhere"
    pairs.root.rename(moved)
    there = changed(
        pairs, root=moved,
        **{
            role: tuple(
                Pair(p.name, moved / p.image.relative_to(pairs.root), moved / p.label.relative_to(pairs.root))
                for p in getattr(pairs, role)
            )
            for role in ("fit", "select", "report")
        },
    )  # fmt: skip
    assert pair_data(there, reading).identity == here


@pytest.mark.parametrize(
    ("role", "touches"),
    [("fit", {"fit", "calibration"}), ("select", {"select"}), ("report", {"report"})],
)
@pytest.mark.parametrize("kind", ["image", "label"])
def test_changed_file_touches_the_identity_of_its_role_only(pairs, reading, role, touches, kind):
    before = pair_data(pairs, reading).identity
    path = getattr(getattr(pairs, role)[0], kind)
    save(path, picture(99) if kind == "image" else labels(99, 12))
    assert touched(before, pair_data(pairs, reading).identity) == touches


def test_options_touch_the_identities_of_the_items_they_change(pairs, reading):
    before = pair_data(pairs, reading).identity

    def touches(pairs=pairs, **changes):
        return touched(before, pair_data(pairs, changed(reading, **changes)).identity)

    assert touches(pairs=changed(pairs, select=None)) == {"select"}
    assert touches(pairs=changed(pairs, report_split="another name")) == set()
    assert touches(pairs=changed(pairs, lookup=tuple(range(256)))) == ALL
    assert touches(size_hw=(12, 16)) == ALL - {"fit"}  # the training crop's size is the augmentation's
    assert touches(augmentation=resized_crop({**OFF, "flip": 0.5}, (6, 8))) == {"fit"}
    assert touches(seed=1) == {"fit"}


def test_identity_does_not_depend_on_the_cache(pairs, reading, tmp_path):
    other = changed(reading, cache_dir=tmp_path / "other", cache_mb=0)
    assert pair_data(pairs, reading).identity == pair_data(pairs, other).identity


# 16 px x 12 px x 4 bytes x pairs = 768 bytes each; 1 MB = 10^6 bytes, so 1303 pairs do not fit and 4 do
@pytest.mark.parametrize(("cache_mb", "decodes"), [(1, 1), (0, 2)])
def test_images_are_kept_in_memory_only_below_cache_mb(pairs, reading, monkeypatch, cache_mb, decodes):
    data = pair_data(pairs, changed(reading, cache_mb=cache_mb))
    seen = []
    read = file_source.read_image
    monkeypatch.setattr(file_source, "read_image", lambda path: seen.append(path) or read(path))
    for _ in range(2):
        data.report[0]
    assert len(seen) == decodes


@pytest.mark.parametrize("role", ["fit", "select", "report"])
def test_a_role_whose_labels_are_all_ignored_is_refused(pairs, reading, role):
    for pair in getattr(pairs, role):
        save(pair.label, np.full((12, 16), 11, np.uint8))
    with pytest.raises(
        DataError, match=rf"labels of the role {role} .* hold nothing but 11.*correct the labels"
    ):
        pair_data(pairs, reading)


def test_one_label_of_many_may_be_all_ignored(pairs, reading):
    save(pairs.fit[0].label, np.full((12, 16), 11, np.uint8))
    assert len(pair_data(pairs, reading).fit) == 2
