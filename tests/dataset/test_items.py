import numpy as np
import pytest
import torch

from segprune.dataset.augment import resized_crop
from segprune.dataset.contract import LabelReader, same_shape
from segprune.dataset.items import ArraySource, CalibrationItems, EvaluationItems, FitItems
from tests.dataset.trees import labels, picture

AUGMENT = {"crop_area": (0.3, 1.0), "flip": 0.5, "jitter": 0.2}


def source(count=5, size_hw=(12, 16)):
    return ArraySource(
        np.stack([picture(k, size_hw) for k in range(count)]),
        np.stack([labels(k, 5, size_hw) for k in range(count)]),
    )


def same(a, b):
    return torch.equal(a.image, b.image) and torch.equal(a.label, b.label)


def test_fit_item_does_not_depend_on_what_was_asked_before():
    forwards, backwards = (FitItems(source(), resized_crop(AUGMENT, (12, 16)), 3) for _ in range(2))
    told = {index: forwards[index] for index in range(15)}
    assert all(same(backwards[index], told[index]) for index in reversed(range(15)))


def test_fit_item_changes_with_epoch_and_seed():
    augment = resized_crop(AUGMENT, (12, 16))
    items, other_seed = FitItems(source(), augment, 3), FitItems(source(), augment, 4)
    assert not same(items[1], items[1 + 5])
    assert not same(items[1], other_seed[1])


def test_index_beyond_the_first_epoch_shows_image_index_modulo_n():
    items = FitItems(source(), resized_crop({"crop_area": None, "flip": 0.0, "jitter": 0.0}, (12, 16)), 0)
    assert same(items[2], items[2 + 3 * 5])
    assert len(items) == 5


def test_negative_fit_index_is_refused():
    with pytest.raises(IndexError, match=r"item -1: the index is epoch \* 5 \+ i"):
        FitItems(source(), resized_crop(AUGMENT, (12, 16)), 0)[-1]


def test_calibration_resizes_both_and_evaluation_only_the_image():
    pairs = source()
    calibration, evaluation = CalibrationItems(pairs, (6, 8))[0], EvaluationItems(pairs, (6, 8))[0]
    assert calibration.image.shape == evaluation.image.shape == (3, 6, 8)
    assert calibration.label.shape == (6, 8)
    assert np.array_equal(evaluation.label.numpy(), pairs.labels[0])
    assert same_shape([calibration, CalibrationItems(pairs, (6, 8))[1]])
    assert not same_shape([calibration, evaluation])


@pytest.mark.parametrize("index", [-1, 5])
@pytest.mark.parametrize("view", [CalibrationItems, EvaluationItems])
def test_index_outside_ends_iteration(view, index):
    with pytest.raises(IndexError, match=f"item {index} of 5"):
        view(source(), (6, 8))[index]
    assert len(list(view(source(), (6, 8)))) == 5


def test_label_read_alone_is_the_items_label():
    items = CalibrationItems(source(), (7, 9))
    for index in range(5):
        alone = items.label(index)
        assert alone.dtype == torch.uint8
        assert torch.equal(alone, items[index].label)


def test_calibration_labels_can_be_read_alone_and_training_labels_cannot():
    assert isinstance(CalibrationItems(source(), (6, 8)), LabelReader)
    assert not isinstance(FitItems(source(), resized_crop(AUGMENT, (12, 16)), 0), LabelReader)


@pytest.mark.parametrize("index", [-1, 5])
def test_label_outside_is_refused(index):
    with pytest.raises(IndexError, match=f"item {index} of 5"):
        CalibrationItems(source(), (6, 8)).label(index)
