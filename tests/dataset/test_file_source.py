import multiprocessing
import pickle

import numpy as np
import pytest

from segprune.dataset import file_source
from segprune.dataset.file_source import FileSource, decoded_bytes, first_within
from segprune.dataset.mask_code import MaskCode
from segprune.dataset.pairing import Pair
from segprune.errors import DataError
from tests.dataset.trees import labels, picture, save

SIZES = [(6, 8), (12, 16), (5, 3)]
SHIFTED = MaskCode("numbers", {value: value + 1 for value in range(5)})


@pytest.fixture
def pairs(tmp_path):
    return [
        Pair(
            str(k), save(tmp_path / f"{k}.png", picture(k, s)), save(tmp_path / f"{k}_l.png", labels(k, 5, s))
        )
        for k, s in enumerate(SIZES)
    ]


@pytest.fixture
def decodes(monkeypatch):
    seen = []

    def counted(path, *, upright, bands):
        seen.append(path.name)
        return read(path, upright=upright, bands=bands)

    read = file_source.read_image
    monkeypatch.setattr(file_source, "read_image", counted)
    return seen


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_pairs_are_what_the_files_hold_at_every_look(pairs, kept):
    source = FileSource(pairs, SIZES, MaskCode(), upright=True, kept=kept)
    for _ in range(2):
        for k, size in enumerate(SIZES):
            image, label = source[k]
            assert np.array_equal(image, picture(k, size))
            assert np.array_equal(label, labels(k, 5, size))
    assert len(source) == 3


def test_kept_pair_is_decoded_once_others_at_every_look(pairs, decodes):
    kept, looked_up = (FileSource(pairs, SIZES, MaskCode(), upright=True, kept=kept) for kept in (3, 0))
    for _ in range(3):
        kept[1]
    assert decodes == ["1.png"]
    for _ in range(3):
        looked_up[1]
    assert decodes == ["1.png"] * 4


def test_the_first_pairs_stay_and_the_others_are_decoded_at_every_look(pairs, decodes):
    source = FileSource(pairs, SIZES, MaskCode(), upright=True, kept=2)
    for _ in range(3):
        for index in range(3):
            source[index]
    assert sorted(decodes) == ["0.png", "1.png", *["2.png"] * 3]


# 6x8, 12x16 and 5x3 px take 192, 768 and 60 bytes
@pytest.mark.parametrize(
    ("most", "first"), [(-1, 0), (0, 0), (191, 0), (192, 1), (959, 1), (960, 2), (1020, 3), (10**9, 3)]
)
def test_as_many_pairs_as_fit_from_the_first_on(most, first):
    assert first_within(SIZES, most) == first


def test_what_a_forked_worker_decoded_is_there_for_its_parent(pairs, decodes):
    source = FileSource(pairs, SIZES, MaskCode(), upright=True, kept=3)
    worker = multiprocessing.get_context("fork").Process(target=source.__getitem__, args=(1,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert np.array_equal(source[1][0], picture(1, SIZES[1]))
    assert decodes == []  # nothing was decoded in this process


@pytest.mark.parametrize("kept", [0, 1, 3])
@pytest.mark.parametrize("code", [MaskCode(), SHIFTED])
def test_label_alone_is_that_of_the_pair_and_decodes_no_image(pairs, decodes, kept, code):
    source = FileSource(pairs, SIZES, code, upright=True, kept=kept)
    alone = [source.label(k) for k in range(3)]
    assert decodes == []
    assert all(np.array_equal(alone[k], source[k][1]) for k in range(3))


def test_label_of_a_kept_pair_comes_from_memory(pairs):
    source = FileSource(pairs, SIZES, MaskCode(), upright=True, kept=3)
    source[1]
    pairs[1].label.unlink()
    assert np.array_equal(source.label(1), labels(1, 5, SIZES[1]))


def test_label_that_changed_after_the_check_is_refused(pairs):
    save(pairs[0].label, labels(0, 5, (7, 7)))
    with pytest.raises(DataError, match=r"0_l.png was 8x6 when it was checked and has changed since"):
        FileSource(pairs, SIZES, MaskCode(), upright=True, kept=3).label(0)


def test_code_translates_labels(pairs):
    source = FileSource(pairs, SIZES, SHIFTED, upright=True, kept=3)
    assert np.array_equal(source[0][1], labels(0, 5, SIZES[0]) + 1)


def test_pickled_copy_reads_the_same(pairs):
    source = FileSource(pairs, SIZES, MaskCode(), upright=True, kept=3)
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - what spawned loader workers do
    assert np.array_equal(copy[1][0], source[1][0])


def test_file_that_changed_after_the_check_is_refused(pairs):
    save(pairs[0].label, labels(0, 5, (7, 7)))
    with pytest.raises(
        DataError, match=r"0_l.png was 8x6 when it was checked and has changed since; start again"
    ):
        FileSource(pairs, SIZES, MaskCode(), upright=True, kept=3)[0]


def test_no_pairs_is_an_empty_source():
    assert len(FileSource([], [], MaskCode(), upright=True, kept=0)) == 0


def test_four_bytes_per_pixel():
    assert decoded_bytes([(2, 3), (10, 10)]) == 4 * (6 + 100)


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_numbers_of_16_bits_and_other_bands_stay_in_memory_as_they_are(bands, tmp_path, monkeypatch):
    pixels = [
        np.random.default_rng(k).integers(0, 65536, (*size, bands), dtype=np.uint16)
        for k, size in enumerate(SIZES)
    ]
    monkeypatch.setattr(file_source, "read_image", lambda path, *, upright, bands: pixels[int(path.stem)])
    made = [
        Pair(str(k), tmp_path / f"{k}.tif", save(tmp_path / f"{k}_l.png", labels(k, 5, s)))
        for k, s in enumerate(SIZES)
    ]
    source = FileSource(made, SIZES, MaskCode(), upright=True, kept=3, bands=bands, bits=16)
    for _ in range(2):
        for k, size in enumerate(SIZES):
            image, label = source[k]
            assert np.array_equal(image, pixels[k])
            assert np.array_equal(label, labels(k, 5, size))
    assert decoded_bytes([(5, 3)], 2 * bands) == 5 * 3 * (2 * bands + 1) + 1
