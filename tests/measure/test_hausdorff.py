import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from segprune.measure.hausdorff import hausdorff_sums, hd95


def masks(size: int, *points: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[tuple(zip(*points, strict=True))] = True
    return mask


def test_two_pixels_are_as_far_apart_as_pythagoras_says() -> None:
    assert hd95(masks(10, (1, 1)), masks(10, (4, 5))) == pytest.approx(5)


def test_a_mask_is_no_distance_from_itself() -> None:
    mask = np.random.default_rng(0).random((20, 20)) < 0.4
    assert hd95(mask, mask) == 0


def test_a_square_within_a_larger_one_is_the_width_of_the_rim_away_but_for_corners() -> None:
    outer, inner = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    outer[5:35, 5:35], inner[8:32, 8:32] = True, True
    assert 3 <= hd95(outer, inner) <= 3 * 2**0.5


def border(mask: np.ndarray) -> np.ndarray:
    """Pixels with a side neighbour outside, in coordinates; outside of the image there is nothing."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_all_pairs_of_border_pixels_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.random((17, 23)) < share for share in (0.1, 0.7))
    distances = cdist(border(one), border(other))
    expected = max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))
    assert hd95(one, other) == pytest.approx(expected)
    assert hd95(other, one) == hd95(one, other)
    assert hd95(one.T, other.T) == pytest.approx(expected)


def test_classes_that_one_side_lacks_are_counted_and_ignored_pixels_are_of_no_class() -> None:
    label = torch.tensor([[0, 0, 1, 255], [0, 0, 1, 255]])
    prediction = torch.tensor([[0, 0, 2, 1], [0, 0, 2, 1]])
    assert hausdorff_sums(prediction, label, label != 255, 4).tolist() == [0, 1, 2]
    shifted = torch.tensor([[0, 1, 1, 3], [0, 1, 1, 3]])
    total, both, one_sided = hausdorff_sums(shifted, label, label != 255, 4).tolist()
    assert (total, both, one_sided) == (pytest.approx(1 + 1), 2, 0)
