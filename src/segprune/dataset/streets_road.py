"""The road of a street scene: where it lies, how it is painted, the fence beside it."""

from dataclasses import dataclass

import numpy as np

from segprune.dataset import streets_objects as objects
from segprune.dataset.streets_canvas import PAVEMENT, ROAD, Canvas, Colour


@dataclass(frozen=True)
class Road:
    """The road from the bottom of the frame (near) to the horizon (far), where it is narrow.

    Attributes:
        horizon: y of the horizon in px.
        bottom: y of the frame's lower edge in px.
        left: (far, near) x of the left edge in px.
        right: (far, near) x of the right edge in px.
    """

    horizon: float
    bottom: float
    left: tuple[float, float]
    right: tuple[float, float]

    def left_at(self, y: float) -> float:
        """Where the left edge is at y, in px."""
        return self.left[0] + (self.left[1] - self.left[0]) * self.nearness(y)

    def right_at(self, y: float) -> float:
        """Where the right edge is at y, in px."""
        return self.right[0] + (self.right[1] - self.right[0]) * self.nearness(y)

    def nearness(self, y: float) -> float:
        """0 on the horizon, 1 at the bottom."""
        return (y - self.horizon) / (self.bottom - self.horizon)


def paint_road(canvas: Canvas, road: Road, pavement: Colour) -> None:
    """Asphalt, kerbs, lane marks and cast shadows; marks and shadows keep the label below them."""
    rng, height, width = canvas.rng, canvas.height, canvas.width
    horizon, bottom = road.horizon, road.bottom
    asphalt = canvas.colour((105, 105, 108), (85, 86, 90), (125, 122, 118), (70, 70, 74))
    shape = canvas.polygon(
        (road.left[0], horizon), (road.right[0], horizon), (road.right[1], bottom), (road.left[1], bottom)
    )
    canvas.paint(shape, asphalt, ROAD, (5, 5, 6))
    if rng.random() < 0.7:
        for far, near in (road.left, road.right):
            kerb = pavement + np.float32(rng.uniform(-30, 40))
            canvas.paint(canvas.line((far, horizon), (near, bottom)), kerb, None, (3, 3, 0))
    if rng.random() < 0.7:
        across, count = rng.uniform(0.35, 0.65), int(rng.integers(3, 8))
        white = canvas.colour((215, 215, 210), (200, 180, 90))
        for k in range(count):
            ends = [horizon + (bottom - horizon) * ((k + part) / count) ** 1.7 for part in (0.1, 0.55)]
            lane = [(road.left_at(y) + across * (road.right_at(y) - road.left_at(y)), y) for y in ends]
            dash = canvas.line(lane[0], lane[1], 1 + 2 * k / count)
            canvas.paint(dash * (canvas.label == ROAD), white, None, (4, 4, 0))
    for _ in range(rng.integers(0, 3)):
        corners = zip(
            rng.uniform(-0.2, 1.2, 4) * width, rng.uniform(horizon / height, 1.1, 4) * height, strict=True
        )
        ground = (canvas.label == ROAD) | (canvas.label == PAVEMENT)
        canvas.darken(canvas.polygon(*corners) * ground, rng.uniform(0.55, 0.8))


def roadside_fence(canvas: Canvas, road: Road) -> None:
    """A fence that runs towards the camera, on one side."""
    rng, height = canvas.rng, canvas.height
    is_left = rng.random() < 0.5
    edge = road.left_at if is_left else road.right_at
    off = rng.uniform(0.12, 0.45) * canvas.width * (-1 if is_left else 1)
    far = road.horizon + rng.uniform(0.04, 0.12) * height
    near = road.horizon + rng.uniform(0.3, 0.7) * (height - road.horizon)
    objects.fence(
        canvas, (edge(far) + off * 0.4, far), (edge(near) + off, near), rng.uniform(0.08, 0.16) * height
    )
