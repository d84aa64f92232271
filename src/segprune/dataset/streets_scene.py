"""Street scenes drawn by program: a pure function from (seed, split, index, size) to image and label.

Back to front: sky, pavement, rows of buildings, trees, road with marks and shadows, fence, then the objects
from far to near, things without a class, and last the annotator's and the camera's faults.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from segprune.dataset import streets_objects as objects
from segprune.dataset.augment import Pixels
from segprune.dataset.streets_canvas import PAVEMENT, SKY, TREE, VOID, Canvas, Colour, Grain, value_noise
from segprune.dataset.streets_road import Road, paint_road, roadside_fence
from segprune.seed import derive

Split = Literal["train", "val", "test"]


def scene(seed: int, split: Split, index: int, size_hw: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Image (H, W, 3) uint8 RGB and label (H, W) uint8, CamVid's classes and void 11."""
    canvas = Canvas(np.random.default_rng(derive(seed, "scene", split, index)), size_hw)
    rng, height, width = canvas.rng, canvas.height, canvas.width
    horizon, vanishing = rng.uniform(0.36, 0.52) * height, rng.uniform(0.35, 0.65) * width
    road = Road(
        horizon,
        height,
        left=(vanishing - rng.uniform(0.02, 0.05) * width, width * rng.uniform(-0.5, 0.15)),
        right=(vanishing + rng.uniform(0.02, 0.05) * width, width * rng.uniform(0.85, 1.5)),
    )
    pavement = _ground_and_sky(canvas, horizon)
    for side in (-1, 1):
        _row_of_buildings(canvas, horizon, vanishing, side)
    for _ in range(rng.integers(1, 6)):
        x = rng.uniform(0, width)
        off = abs(x - vanishing) / width
        ground = horizon + off * rng.uniform(0.05, 0.35) * height
        objects.tree(canvas, x, ground, (rng.uniform(0.15, 0.3) + off * rng.uniform(0.3, 0.9)) * height)
    paint_road(canvas, road, pavement)
    if rng.random() < 0.65:
        roadside_fence(canvas, road)
    _traffic(canvas, road)
    _unlabelled(canvas, horizon, vanishing)
    return _photographed(canvas, horizon), canvas.label


def _ground_and_sky(canvas: Canvas, horizon: float) -> Colour:
    """Sky, pavement, sometimes a hedge on the horizon; returns the pavement's colour."""
    rng, height, width = canvas.rng, canvas.height, canvas.width
    sky = canvas.colour((120, 160, 215), (200, 205, 210), (165, 175, 190), (225, 190, 165))
    brighter_below: Grain = (_rows(canvas) / np.float32(horizon) - 0.5) * np.float32(rng.uniform(0, 40))
    canvas.paint(
        canvas.rectangle(0, 0, width, horizon + 2), sky, SKY, (2, 2, rng.uniform(4, 22)), brighter_below
    )
    pavement = canvas.colour((150, 145, 140), (125, 122, 120), (165, 150, 135), (110, 112, 115))
    canvas.paint(canvas.rectangle(0, horizon, width, height), pavement, PAVEMENT, (5, 6, 4))
    if rng.random() < 0.4:
        hedge = canvas.rectangle(0, horizon, width, horizon + rng.uniform(0.02, 0.06) * height)
        canvas.paint(hedge, canvas.colour((60, 90, 45), (45, 70, 40)), TREE, (12, 14, 0))
    return pavement


def _row_of_buildings(canvas: Canvas, horizon: float, vanishing: float, side: int) -> None:
    """Buildings and gaps from the left (-1) or right (1) edge of the frame towards the vanishing point."""
    rng, height, width = canvas.rng, canvas.height, canvas.width
    x = 0.0 if side < 0 else float(width)
    end = vanishing + side * rng.uniform(0.02, 0.2) * width
    while (end - x) * side < 0:
        off = abs(x - vanishing) / width
        inner = x - side * rng.uniform(0.1, 0.3) * width
        top = horizon - (rng.uniform(0.1, 0.45) + off * rng.uniform(0.2, 0.9)) * horizon
        if (end - inner) * side > 0:
            inner = end
        if rng.random() < 0.8:
            ground = horizon + off * rng.uniform(0.05, 0.22) * height
            objects.building(canvas, min(x, inner), max(x, inner), ground, max(-5.0, top))
        x = inner


@dataclass(frozen=True)
class _Kind:
    """An object and how it appears: how many, the chance to stand on the road, the relative height."""

    draw: Callable[[Canvas, float, float, float], None]
    at_least: int
    fewer_than: int
    on_road: float
    height: tuple[float, float]


_KINDS = (
    _Kind(objects.car, 1, 5, 0.75, (0.75, 1.05)),
    _Kind(objects.pedestrian, 0, 5, 0.25, (0.95, 1.3)),
    _Kind(objects.bicyclist, 0, 3, 0.6, (1.0, 1.3)),
    _Kind(objects.pole, 1, 4, 0.0, (1.6, 3.0)),
    _Kind(objects.sign, 0, 3, 0.0, (1.6, 3.0)),
)


def _traffic(canvas: Canvas, road: Road) -> None:
    """Everything that moves or stands along the road, from far to near."""
    rng, height, width = canvas.rng, canvas.height, canvas.width
    placed = [
        (road.horizon + (height - road.horizon) * rng.uniform(0.05, 0.75) ** 1.3, number)
        for number, kind in enumerate(_KINDS)
        for _ in range(rng.integers(kind.at_least, kind.fewer_than))
    ]
    for ground, number in sorted(placed):
        kind, left, right = _KINDS[number], road.left_at(ground), road.right_at(ground)
        if rng.random() < kind.on_road:
            x = left + (right - left) * rng.uniform(0.1, 0.9)
        elif rng.random() < 0.5:
            x = left - rng.uniform(0.02, 0.25) * width
        else:
            x = right + rng.uniform(0.02, 0.25) * width
        size = (0.05 + 0.5 * road.nearness(ground)) * height * rng.uniform(*kind.height)
        kind.draw(canvas, x, ground, size)


def _unlabelled(canvas: Canvas, horizon: float, vanishing: float) -> None:
    """Things without a class (the own bonnet, bins, boxes), and label edges that the annotator left open."""
    rng, height, width = canvas.rng, canvas.height, canvas.width
    if rng.random() < 0.3:
        centre = (vanishing + rng.uniform(-0.1, 0.1) * width, height * 1.03)
        bonnet = canvas.ellipse(centre, width * rng.uniform(0.3, 0.6), height * rng.uniform(0.05, 0.12))
        canvas.paint(bonnet, canvas.colour((35, 36, 40), (90, 92, 96)), VOID, (2, 3, 0))
    for _ in range(rng.integers(0, 3)):
        x, ground, size = (
            rng.uniform(0, width),
            rng.uniform(horizon + 4, height),
            rng.uniform(0.04, 0.12) * height,
        )
        box = canvas.rectangle(x, ground - size, x + size * rng.uniform(0.5, 1.5), ground)
        canvas.paint(box, canvas.colour((90, 90, 90), (120, 60, 40), (60, 90, 110)), VOID, (8, 10, 0))
    if rng.random() < 0.5:
        neighbours = np.ones((3, 3), np.uint8)
        edges = cv2.dilate(canvas.label, neighbours) != cv2.erode(canvas.label, neighbours)
        canvas.label[edges & (canvas.fine > 0.9)] = VOID


def _photographed(canvas: Canvas, horizon: float) -> Pixels:
    """(H, W, 3) uint8: exposure, colour cast, uneven light, sometimes haze, blur, sensor noise."""
    rng, size_hw = canvas.rng, (canvas.height, canvas.width)
    cast = np.array([1 + rng.uniform(-0.08, 0.08), 1, 1 + rng.uniform(-0.08, 0.08)])
    image = canvas.image * (rng.uniform(0.7, 1.2) * cast).astype(np.float32)
    image *= 1 + np.float32(0.18) * value_noise(rng, size_hw, 40)[..., None]
    if rng.random() < 0.3:
        near_horizon = np.clip(1 - np.abs(_rows(canvas) - horizon) / (0.6 * canvas.height), 0, 1)
        haze = (0.5 * rng.uniform(0.2, 1) * near_horizon)[..., None].astype(np.float32)
        image = image * (1 - haze) + 200 * haze
    image = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.3, 0.8))
    image += np.float32(rng.uniform(2, 9)) * rng.standard_normal(image.shape, dtype=np.float32)
    pixels: Pixels = np.clip(image, 0, 255).astype(np.uint8)
    return pixels


def _rows(canvas: Canvas) -> Grain:
    """(H, 1) float32 y of each row in px."""
    return np.arange(canvas.height, dtype=np.float32)[:, None]
