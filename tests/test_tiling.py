import numpy as np
import pytest
import torch
from torch import Tensor

from segprune.tiling import OVERLAP, Pixels, starts, tiled


def pointwise(tile: Pixels) -> Tensor:
    """Logits that depend on nothing around a pixel: (3, h, w)."""
    return torch.from_numpy(tile.astype(np.float32)).permute(2, 0, 1)


@pytest.mark.parametrize("size_hw", [(16, 16), (16, 17), (50, 33), (5, 40), (3, 7), (64, 16)])
def test_what_depends_on_no_neighbour_is_the_same_in_tiles(size_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    seen = []

    def look(tile: Pixels) -> Tensor:
        seen.append(tile.shape)
        return pointwise(tile)

    found = tiled(look, image, (16, 16))
    torch.testing.assert_close(found, pointwise(image))
    assert set(seen) == {(16, 16, 3)}


def test_an_image_of_one_tile_is_predicted_once() -> None:
    image, seen = np.zeros((16, 24, 3), dtype=np.uint8), []
    tiled(lambda tile: seen.append(1) or pointwise(tile), image, (16, 24))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("side", "tile"), [(100, 100), (101, 100), (175, 100), (176, 100), (1000, 96), (7, 2)]
)
def test_tiles_cover_the_side_and_overlap(side: int, tile: int) -> None:
    found = starts(side, tile)
    assert (found[0], found[-1] + tile) == (0, side)
    steps = np.diff(found)
    assert (steps <= tile * (1 - OVERLAP) + 1).all()  # 1: whole pixels
    assert (
        len(found) == 1 or len(found) - 1 < (side - tile) / (tile * (1 - OVERLAP)) + 1
    )  # no more than needed


def test_the_middle_of_a_tile_counts_more_than_its_border() -> None:
    # two tiles of 4 in a side of 7: they share column 3, the border of both; of 6: columns 2 and 3
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    number = iter([0.0, 1.0])

    def constant(tile: Pixels) -> Tensor:
        return torch.full((1, 4, 4), next(number))

    row = tiled(constant, image, (4, 4))[0, 0]
    assert row[:2].tolist() == [0, 0]
    assert row[4:].tolist() == [1, 1]
    assert 0 < row[2] <= row[3] < 1
