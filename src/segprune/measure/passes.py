"""How an image is shown to a network: whole or in tiles, also mirrored, at one size or several."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segprune.model.contract import Predicts

GRID = 32
"""Tiles begin at multiples of so many px where they are larger, so that a network which halves its maps up to five
times sees the same grid in each."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """The forward passes over one image, whose logits are averaged.

    Attributes:
        tile: (h, w) in px: the image is shown in tiles of this size, which overlap; None: whole.
        overlap: Fraction of a tile's side that the next one covers too, at least.
        flips: Whether every pass is repeated with the image mirrored left to right.
        scales: Factors on the image's sides; tiles keep their size.
    """

    tile: tuple[int, int] | None = None
    overlap: float = 0.25
    flips: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __call__(self, net: Predicts, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> logits (N, K, H', W'); those of the network itself where there is one pass.

        With tiles or several passes, H' and W' are those of the images.
        """
        if self.is_single:
            return net(images)
        size_hw = images.shape[-2:]
        total: Tensor | None = None
        for scale in self.scales:
            scaled = images if scale == 1 else _resized(images, _scaled(size_hw, scale), antialias=scale < 1)
            for is_mirrored in (False, True) if self.flips else (False,):
                found = self._whole(net, scaled.flip(-1) if is_mirrored else scaled)
                found = _resized(found.flip(-1) if is_mirrored else found, size_hw)
                total = found if total is None else total + found
        assert total is not None  # noqa: S101 - there is a scale
        return total / (len(self.scales) * (1 + self.flips))

    @property
    def is_single(self) -> bool:
        """Whether there is one pass, over the whole image as it is."""
        return self.tile is None and not self.flips and tuple(self.scales) == (1.0,)

    def size_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """(H, W) in px of one pass over an image at a scale of 1."""
        return self.tile or image_hw

    def scaled(self, image_hw: tuple[int, int]) -> dict[float, tuple[int, int]]:
        """Scale -> (H, W) in px of the image at it, but for 1."""
        return {scale: _scaled(image_hw, scale) for scale in self.scales if scale != 1}

    def record(self) -> dict[str, Any]:
        """Plain values, from which ``Passes(**...)`` makes it again."""
        return asdict(self)

    def describe(self) -> str | None:
        """In words for rows and tables; None for one pass."""
        parts = [
            f"tiles {self.tile[0]}x{self.tile[1]} px, overlap {self.overlap:g}" if self.tile else "",
            "mirrored too" if self.flips else "",
            f"scales {' '.join(f'{scale:g}' for scale in self.scales)}"
            if tuple(self.scales) != (1.0,)
            else "",
        ]
        return "; ".join(filter(None, parts)) or None

    def _whole(self, net: Predicts, images: Tensor) -> Tensor:
        return net(images) if self.tile is None else tiled(net, images, self.tile, self.overlap)


ONE_PASS = Passes()


def tiled(net: Predicts, images: Tensor, tile_hw: tuple[int, int], overlap: float) -> Tensor:
    """Logits of images, predicted tile by tile.

    Within a quarter of the overlap from a border where a neighbour goes on, a tile counts nothing, since there it
    has seen least around; over the next half its weight rises to 1. At the borders of the image it counts whole, as
    one pass does. So the logits are those of one pass where what a pixel depends on reaches less far than a quarter
    of the overlap, on the grid that the network halves its maps by. Images that are smaller than a tile are
    mirrored up to it.

    Args:
        net: Predicts a tile (N, C, h, w) at once, of all images; gives logits of its size, or of a fraction of it.
        images: (N, C, H, W).
        tile_hw: (h, w) in px of a tile.
        overlap: Fraction of a tile's side that the next one covers too, at least.

    Returns:
        (N, K, H, W), of the logits' type.
    """
    height, width = images.shape[-2:]
    whole = _mirrored(_mirrored(images, -2, tile_hw[0]), -1, tile_hw[1])
    tops, lefts = (starts(side, tile, overlap) for side, tile in zip(whole.shape[-2:], tile_hw, strict=True))
    sums: Tensor | None = None
    weights = torch.zeros((), device=images.device)
    for top, down in zip(tops, _weights(tops, tile_hw[0], overlap), strict=True):
        for left, across in zip(lefts, _weights(lefts, tile_hw[1], overlap), strict=True):
            place = (..., slice(top, top + tile_hw[0]), slice(left, left + tile_hw[1]))
            found = _resized(net(whole[place].contiguous(memory_format=_format(images))), tile_hw)
            weight = torch.outer(down, across).to(found)
            if sums is None:
                sums = found.new_zeros((*found.shape[:2], *whole.shape[-2:]))
                weights = found.new_zeros(whole.shape[-2:])
            sums[place] += weight * found
            weights[place] += weight
    assert sums is not None  # noqa: S101 - there is a tile
    return (sums / weights)[..., :height, :width]


def starts(side: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along a side, each overlapping the next by the fraction of its side or more."""
    step = max(math.floor(tile * (1 - overlap)), 1)
    step = step // GRID * GRID or step
    return [*range(0, side - tile, step), side - tile]


def _weights(places: Sequence[int], tile: int, overlap: float) -> list[Tensor]:
    """(tile,) float64 of each tile along one side; at every pixel one of them is above 0."""
    lap = overlap * tile
    place = torch.arange(tile, dtype=torch.float64) + 0.5
    found = []
    for index in range(len(places)):
        rise = torch.ones_like(place) if index == 0 else _ramp(place, lap)
        fall = torch.ones_like(place) if index == len(places) - 1 else _ramp(tile - place, lap)
        found.append(rise * fall)
    return found


def _ramp(distance: Tensor, lap: float) -> Tensor:
    return ((distance - lap / 4) / max(lap / 2, 1e-9)).clamp(0, 1)


def _mirrored(images: Tensor, axis: int, least: int) -> Tensor:
    """The images, continued by their mirror image along an axis until they are so long."""
    side = images.shape[axis]
    if side >= least:
        return images
    index = torch.arange(least, device=images.device) % (2 * side)
    return images.index_select(axis, torch.where(index < side, index, 2 * side - 1 - index))


def _resized(maps: Tensor, size_hw: Sequence[int], *, antialias: bool = False) -> Tensor:
    if maps.shape[-2:] == tuple(size_hw):
        return maps
    return F.interpolate(maps, size=tuple(size_hw), mode="bilinear", align_corners=False, antialias=antialias)


def _scaled(size_hw: Sequence[int], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width


def _format(images: Tensor) -> torch.memory_format:
    is_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format
