import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from segprune.measure import boundary
from segprune.measure.boundary import border_band, boundary_counts, boundary_iou
from segprune.measure.quality import pixel_counts

VOID = 255


@pytest.fixture(params=["cpu", "gpu"], autouse=True)
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU computes runs on a CPU too."""
    if request.param == "gpu":
        monkeypatch.setattr(boundary, "_around_on_cpu", boundary._around)


def image(*rows: list[int]) -> Tensor:
    return torch.tensor(rows)


def band(classes: Tensor, width: float) -> list[list[int]]:
    found: list[list[int]] = border_band(classes, classes != VOID, width=width).int().tolist()
    return found


def counts(prediction: Tensor, label: Tensor, width: float) -> Tensor:
    scored = label != VOID
    bands = (border_band(classes, scored, width=width) for classes in (label, prediction))
    return boundary_counts(pixel_counts(prediction, label, scored, *bands, classes=3))


# The diagonal of 1 x 6 px is sqrt(37) = 6.08 px: 0.02 of it rounds to 0 and becomes 1 px; 0.33 is 2.007, 2 px.
NARROW, WIDE = 0.02, 0.33


def test_the_band_reaches_as_far_as_the_width_to_both_sides_of_a_border() -> None:
    assert band(image([0, 0, 0, 1, 1, 1]), NARROW) == [[0, 0, 1, 1, 0, 0]]
    assert band(image([0, 0, 0, 1, 1, 1]), WIDE) == [[0, 1, 1, 1, 1, 0]]


def test_diagonal_neighbours_are_one_pixel_away() -> None:
    # diagonal of 3 x 3 is 4.2 px; 0.1 of it rounds to 0 and becomes 1 px
    assert band(image([1, 0, 0], [0, 0, 0], [0, 0, 0]), 0.1) == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_void_makes_no_border_and_hides_none_behind_it() -> None:
    assert band(image([0, 0, VOID, 1, 1, 1]), NARROW) == [[0, 0, 0, 0, 0, 0]]
    # two pixels away from each other, across the void one, which is itself in no band
    assert band(image([0, 0, VOID, 1, 1, 1]), WIDE) == [[0, 1, 0, 1, 0, 0]]
    assert band(image([VOID, 0, 0, 0, 0, VOID]), WIDE) == [[0] * 6]


def test_the_edge_of_the_image_is_no_border() -> None:
    assert band(image([2, 2], [2, 2]), 0.5) == [[0, 0], [0, 0]]


def test_the_band_is_what_erosions_take_from_every_mask() -> None:
    generator = np.random.default_rng(0)
    classes = np.kron(generator.integers(0, 3, (5, 6)), np.ones((4, 5))).astype(np.int16)  # 20 x 30, 36 px
    for reach, width in ((1, 0.02), (2, 0.06), (4, 0.11)):
        expected = np.zeros(classes.shape, bool)
        for value in range(3):
            mask = classes == value
            inner = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=reach, border_value=1)
            expected |= mask & ~inner
        found = border_band(
            torch.from_numpy(classes), torch.ones(classes.shape, dtype=torch.bool), width=width
        )
        assert np.array_equal(found.numpy(), expected)


def test_counts_and_scores_of_a_border_that_is_off_by_one_pixel() -> None:
    label, prediction = image([0, 0, 0, 1, 1, 1]), image([0, 0, 1, 1, 1, 1])
    # 1 px: bands {2}{3} against {1}{2}: nothing in common
    assert counts(prediction, label, NARROW).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0]]
    assert boundary_iou(counts(prediction, label, NARROW)).mean == 0
    # 2 px: class 0 {1, 2} against {0, 1}, class 1 {3, 4} against {2, 3}: 1 of 3 each
    found = boundary_iou(counts(prediction, label, WIDE))
    assert found.iou[:2] == pytest.approx((1 / 3, 1 / 3), abs=1e-15)
    assert found.mean == pytest.approx(1 / 3, abs=1e-15)
    assert math.isnan(found.iou[2])


def test_what_is_predicted_on_void_makes_no_border_either() -> None:
    label, prediction = image([0, 0, VOID, 0, 1, 1]), image([0, 0, 2, 0, 1, 1])
    assert counts(prediction, label, NARROW).tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 0]]


def test_a_class_that_is_only_predicted_is_not_in_the_mean_but_costs_the_others() -> None:
    # bands: label {2} {3}; prediction {1, 2} as 0 2, {3, 4} as 2 1. In common: none, and class 0 has 1 + 1 pixels.
    found = boundary_iou(counts(image([0, 0, 2, 2, 1, 1]), image([0, 0, 0, 1, 1, 1]), NARROW))
    assert found.iou[:2] == (0, 0)
    assert math.isnan(found.iou[2])
    assert found.mean == 0


def test_the_split_is_pooled_before_the_division() -> None:
    right = counts(image([0, 0, 0, 1, 1, 1]), image([0, 0, 0, 1, 1, 1]), NARROW)
    wrong = counts(image([0, 0, 1, 1, 1, 1]), image([0, 0, 0, 1, 1, 1]), NARROW)
    # each class: in common 1 + 0; label 1 + 1, prediction 1 + 1: 1 / (4 - 1)
    assert boundary_iou(right + wrong).mean == pytest.approx(1 / 3, abs=1e-15)


def test_a_split_without_a_border_has_no_score() -> None:
    found = boundary_iou(counts(image([0, 1], [1, 0]), image([2, 2], [2, 2]), NARROW))
    assert found.mean is None
    assert all(math.isnan(value) for value in found.iou)
