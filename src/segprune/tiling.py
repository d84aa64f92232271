"""Prediction of a large image in tiles that overlap."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OVERLAP = 0.25
"""Fraction of a tile's side that the next one covers too, at least."""
Pixels = NDArray[Any]


def tiled(logits: Callable[[Pixels], Tensor], image: Pixels, tile_hw: tuple[int, int]) -> Tensor:
    """Logits of an image, predicted tile by tile.

    Where tiles overlap their logits are averaged, with less weight towards a tile's border, where it has seen least
    around. An image that is smaller than a tile on a side is mirrored up to it.

    Args:
        logits: A tile (h, w, 3) -> (K, h, w).
        image: (H, W, 3).
        tile_hw: (h, w) in px of a tile.

    Returns:
        (K, H, W) float32.
    """
    height, width = image.shape[:2]
    lack = [max(tile - side, 0) for tile, side in zip(tile_hw, (height, width), strict=True)]
    whole = np.pad(image, ((0, lack[0]), (0, lack[1]), (0, 0)), mode="symmetric")
    weight = torch.outer(*map(_ramp, tile_hw))
    sums: Tensor | None = None
    weights = torch.zeros(whole.shape[:2])
    for top in starts(whole.shape[0], tile_hw[0]):
        for left in starts(whole.shape[1], tile_hw[1]):
            place = (slice(top, top + tile_hw[0]), slice(left, left + tile_hw[1]))
            found = logits(whole[place]).cpu()
            sums = torch.zeros(len(found), *whole.shape[:2]) if sums is None else sums
            sums[:, *place] += weight * found
            weights[place] += weight
    assert sums is not None  # noqa: S101 - there is at least one tile
    return (sums / weights)[:, :height, :width]


def starts(side: int, tile: int) -> list[int]:
    """Where tiles begin, so that they cover a side evenly and each overlaps the next by ``OVERLAP`` or more."""
    count = 1 + math.ceil((side - tile) / (tile * (1 - OVERLAP)))
    return [round(at) for at in np.linspace(0, side - tile, count)]


def _ramp(tile: int) -> Tensor:
    """(tile,) weights that rise from either border to 1 within the overlap."""
    distance = torch.minimum(torch.arange(1, tile + 1), torch.arange(tile, 0, -1)).float()
    return (distance / max(OVERLAP * tile, 1)).clamp(max=1)
