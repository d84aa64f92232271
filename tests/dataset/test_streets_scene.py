import numpy as np
import pytest

from segprune.dataset.streets_scene import scene

SIZE = (96, 128)


@pytest.fixture(scope="module")
def labels():
    return np.stack([scene(0, "train", index, SIZE)[1] for index in range(60)])


def test_scene_is_the_same_bits_whatever_was_drawn_before():
    first = scene(3, "val", 7, SIZE)
    scene(3, "val", 8, SIZE)
    again = scene(3, "val", 7, SIZE)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


@pytest.mark.parametrize("other", [(4, "val", 7, SIZE), (3, "test", 7, SIZE), (3, "val", 8, SIZE)])
def test_scene_changes_with_every_argument(other):
    assert not np.array_equal(scene(3, "val", 7, SIZE)[0], scene(*other)[0])


@pytest.mark.parametrize("size_hw", [(32, 32), (96, 128), (90, 61)])
def test_any_size_can_be_drawn(size_hw):
    image, label = scene(0, "train", 0, size_hw)
    assert (image.shape, image.dtype) == ((*size_hw, 3), np.uint8)
    assert (label.shape, label.dtype) == (size_hw, np.uint8)


@pytest.mark.slow
def test_every_class_occurs_and_no_other_value(labels):
    assert np.unique(labels).tolist() == list(range(12))


def test_void_is_rare_and_road_is_common(labels):
    assert (labels == 11).mean() < 0.15
    assert 0.15 < (labels == 3).mean() < 0.5


def test_label_is_not_a_function_of_the_place(labels):
    # the most frequent class of each place, as a prediction, must stay far from the labels
    counts = np.stack([(labels == k).sum(0) for k in range(11)])
    assert (counts.argmax(0) == labels).mean() < 0.8
