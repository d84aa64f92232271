import dataclasses
import multiprocessing
import tempfile

import numpy as np
import pytest
import torch

from segprune.dataset import file_source, shared_memory
from segprune.dataset import pairs as pairs_module
from segprune.dataset.augment import resized_crop
from segprune.dataset.labels import CAMVID
from segprune.dataset.mask_code import MaskCode
from segprune.dataset.pair_set import PairSet
from segprune.dataset.pairing import Pair
from segprune.dataset.pairs import Reading, _kept, pair_data
from segprune.dataset.weights import class_weights
from tests.dataset.trees import ALL, OFF, labels, picture, save, touched


@pytest.fixture(autouse=True)
def own_memory(tmp_path, monkeypatch):
    """Other tests have the same images."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(pairs_module, "_latest", [])


@pytest.fixture
def pairs(tmp_path):
    root = tmp_path / "data"
    made = [
        Pair(str(k), save(root / f"i/{k}.png", picture(k)), save(root / f"l/{k}.png", labels(k, 12)))
        for k in range(4)
    ]
    return PairSet(
        name="tiny", root=root, space=CAMVID, code=MaskCode(),
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
    assert touches(pairs=changed(pairs, code=MaskCode("numbers", {12: 0, 0: 0}))) == ALL
    assert touches(size_hw=(12, 16)) == ALL - {"fit"}  # the training crop's size is the augmentation's
    assert touches(augmentation=resized_crop({**OFF, "flip": 0.5}, (6, 8))) == {"fit"}
    assert touches(seed=1) == {"fit"}


def test_identity_does_not_depend_on_the_cache(pairs, reading, tmp_path):
    other = changed(reading, cache_dir=tmp_path / "other", cache_mb=0)
    assert pair_data(pairs, reading).identity == pair_data(pairs, other).identity


# 16 px x 12 px x 4 bytes x pairs = 768 bytes each; 1 MB = 10^6 bytes, so 4 pairs fit
@pytest.mark.parametrize(("cache_mb", "decodes", "decoding"), [(1, 1, "once"), (0, 2, "often")])
def test_images_are_kept_in_memory_only_below_cache_mb(
    pairs, reading, monkeypatch, cache_mb, decodes, decoding
):
    data = pair_data(pairs, changed(reading, cache_mb=cache_mb))
    assert data.decoding == decoding
    seen = []
    read = file_source.read_image
    monkeypatch.setattr(file_source, "read_image", lambda path, **how: seen.append(path) or read(path, **how))
    for _ in range(2):
        data.report[0]
    assert len(seen) == decodes


def decoded(monkeypatch, data):
    """How many images are decoded at a look at the report role."""
    seen = []
    read = file_source.read_image
    with monkeypatch.context() as counting:
        counting.setattr(
            file_source, "read_image", lambda path, **how: seen.append(path) or read(path, **how)
        )
        item = data.report[0]
    return len(seen), item


def test_the_next_job_has_the_images_of_the_one_before_it_and_no_others(pairs, reading, monkeypatch):
    count, item = decoded(monkeypatch, pair_data(pairs, reading))
    assert count == 1
    # another seed, root and split of the other roles are the same images; another cache is no other image
    other = changed(reading, seed=1, size_hw=(12, 16), cache_dir=reading.cache_dir / "b")
    count, larger = decoded(monkeypatch, pair_data(changed(pairs, select=None), other))
    assert count == 0
    assert larger.image.shape[1:] == (12, 16)
    count, coded = decoded(
        monkeypatch,
        pair_data(changed(pairs, code=MaskCode("numbers", {k: (k + 1) % 11 for k in range(11)})), reading),
    )
    assert count == 1
    assert not torch.equal(coded.label, item.label)
    save(pairs.report[0].image, picture(99))
    count, edited = decoded(monkeypatch, pair_data(pairs, reading))
    assert count == 1
    assert not torch.equal(edited.image, item.image)


def test_whoever_measures_decoding_decodes(pairs, reading, monkeypatch):
    data = pair_data(pairs, reading)
    assert decoded(monkeypatch, data)[0] == 1
    with shared_memory.unshared():
        alone = pair_data(pairs, reading)
    assert decoded(monkeypatch, alone)[0] == 1
    assert decoded(monkeypatch, alone)[0] == 0
    assert decoded(monkeypatch, data)[0] == 0
    assert decoded(monkeypatch, pair_data(pairs, reading))[0] == 0


def test_jobs_at_the_same_time_decode_an_image_once(pairs, reading, monkeypatch):
    mine = pair_data(pairs, reading)
    _, item = decoded(monkeypatch, mine)
    hears, tells = multiprocessing.get_context("fork").Pipe(duplex=False)

    def job():
        shared_memory._open.clear()  # a process that was started has none of this one's
        count, seen = decoded(monkeypatch, pair_data(pairs, reading))
        tells.send((count, torch.equal(seen.image, item.image) and torch.equal(seen.label, item.label)))

    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    assert hears.poll(30)
    assert hears.recv() == (0, True)
    process.join()
    del mine


def test_training_images_are_kept_before_those_that_are_looked_at_less_often():
    sizes = {"fit": [(10, 10)] * 3, "select": [(10, 10)] * 2, "report": [(1, 1)] * 5}
    # 400 bytes each, then 4
    assert _kept(sizes, 1000, 3) == {"fit": 2, "select": 0, "report": 5}
    assert _kept(sizes, 2000, 3) == {"fit": 3, "select": 2, "report": 0}
    assert _kept(sizes, 2008, 3) == {"fit": 3, "select": 2, "report": 2}


def test_training_labels_are_counted_once_however_many_trainings_there_are(pairs, reading, monkeypatch):
    data = pair_data(pairs, reading)
    seen = []
    read = file_source.read_mask
    monkeypatch.setattr(
        file_source, "read_mask", lambda path, *how, **more: seen.append(path) or read(path, *how, **more)
    )

    def weights(data):
        asked = {"num_classes": len(data.classes), "ignore_index": data.ignore_index, "mode": "sqrt"}
        return class_weights(data.calibration, kept=data.label_counts, **asked)

    first = weights(data)
    assert len(seen) == len(data.fit)
    assert torch.equal(weights(pair_data(pairs, reading)), first)
    assert len(seen) == len(data.fit)
    assert pair_data(pairs, changed(reading, size_hw=(12, 16))).label_counts != data.label_counts
    assert pair_data(pairs, changed(reading, seed=1)).label_counts == data.label_counts
    monkeypatch.setattr(pairs_module, "read_by", lambda: "edited")
    assert torch.equal(weights(pair_data(pairs, reading)), first)
    assert len(seen) == 2 * len(data.fit)


def test_images_of_16_bits_are_measured_for_each_number_of_bands_that_they_are_read_as(pairs, reading):
    for role in pairs.roles.values():
        for pair in role:
            save(pair.image, np.full((12, 16), 13107, np.uint16))
    for bands in (1, 3, 1):
        found = pair_data(changed(pairs, bands=bands), reading).bands
        assert found.mean == pytest.approx([0.2] * bands)
