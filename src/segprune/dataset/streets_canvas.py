"""A frame that is painted from back to front, colour and label in one stroke."""

import cv2
import numpy as np
from numpy.typing import NDArray

from segprune.dataset.augment import Pixels
from segprune.dataset.labels import CAMVID

(SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST) = range(11)
VOID = CAMVID.ignore_index

Grain = NDArray[np.float32]
Colour = NDArray[np.float32]
Rgb = tuple[int, int, int]
Point = tuple[float, float]


def value_noise(rng: np.random.Generator, size_hw: tuple[int, int], cell_px: int) -> Grain:
    """(H, W) smooth noise in [-1, 1]: a coarse random grid, enlarged."""
    height, width = size_hw
    grid = rng.random((max(2, height // cell_px + 2), max(2, width // cell_px + 2)), dtype=np.float32) * 2 - 1
    noise: Grain = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    return noise


class Canvas:
    """The frame so far, its label, and the textures that every surface shares.

    Attributes:
        rng: The scene's generator.
        image: (H, W, 3) float32, RGB about 0..255.
        label: (H, W) uint8; void until something is painted.
        fine: (H, W) white noise, sd 1.
        patches: (H, W) smooth noise in [-1, 1], some px wide.
        clouds: (H, W) smooth noise in [-1, 1], four times as wide.
    """

    def __init__(self, rng: np.random.Generator, size_hw: tuple[int, int]) -> None:
        self.rng = rng
        self.height, self.width = size_hw
        self.image = np.zeros((*size_hw, 3), np.float32)
        self.label = np.full(size_hw, VOID, np.uint8)
        self.fine = rng.standard_normal(size_hw, dtype=np.float32)
        self.patches = value_noise(rng, size_hw, 6)
        self.clouds = value_noise(rng, size_hw, 24)

    def colour(self, *choices: Rgb, spread: float = 22) -> Colour:
        """(3,) one of the RGB choices, off by a common and a smaller individual amount."""
        base = np.array(choices[self.rng.integers(len(choices))], np.float32)
        off = self.rng.normal(0, spread / 2) + self.rng.normal(0, spread / 3, 3)
        return base + off.astype(np.float32)

    def paint(
        self,
        mask: Pixels,
        colour: Colour,
        label: int | None,
        texture: tuple[float, float, float] = (4, 6, 0),
        shade: Grain | None = None,
    ) -> None:
        """Fill a mask.

        Args:
            mask: (H, W) uint8, non-zero inside.
            colour: (3,) RGB.
            label: ``None`` keeps what is there: shadows and marks belong to what they lie on.
            texture: Amplitudes of noise, patches and clouds, in gray levels.
            shade: (H, W) or (H, 1) gray levels to add.
        """
        left, top, width, height = cv2.boundingRect(mask)
        if not width:
            return
        box = np.s_[top : top + height, left : left + width]
        inside = mask[box] > 0
        tone = texture[0] * self.fine[box] + texture[1] * self.patches[box]
        if texture[2]:
            tone += texture[2] * self.clouds[box]
        if shade is not None:
            tone += np.broadcast_to(shade, self.label.shape)[box]
        np.copyto(self.image[box], colour + tone[..., None], where=inside[..., None])
        if label is not None:
            self.label[box][inside] = label

    def darken(self, mask: Pixels, factor: float) -> None:
        """Multiply the colour inside a mask."""
        self.image[mask > 0] *= factor

    def blank(self) -> Pixels:
        """(H, W) uint8 mask of nothing."""
        return np.zeros((self.height, self.width), np.uint8)

    def rectangle(self, left: float, top: float, right: float, bottom: float) -> Pixels:
        """(H, W) uint8 mask, right and bottom excluded."""
        mask = self.blank()
        rows = slice(max(0, int(top)), max(0, int(bottom)))
        mask[rows, max(0, int(left)) : max(0, int(right))] = 1
        return mask

    def polygon(self, *corners: Point) -> Pixels:
        """(H, W) uint8 mask."""
        points = np.round(np.array(corners, np.float64)).astype(np.int32)
        mask: Pixels = cv2.fillPoly(self.blank(), [points], 1)
        return mask

    def ellipse(self, centre: Point, radius_x: float, radius_y: float, outline: int = -1) -> Pixels:
        """(H, W) uint8 mask; a ring of ``outline`` px if that is positive."""
        radii = (max(1, round(radius_x)), max(1, round(radius_y)))
        mask: Pixels = cv2.ellipse(
            self.blank(), (int(centre[0]), int(centre[1])), radii, 0, 0, 360, 1, outline
        )
        return mask

    def line(self, start: Point, end: Point, thickness: float = 1) -> Pixels:
        """(H, W) uint8 mask, at least one px thick."""
        ends = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
        mask: Pixels = cv2.line(self.blank(), *ends, 1, max(1, round(thickness)))
        return mask
