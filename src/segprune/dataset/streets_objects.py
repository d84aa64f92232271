"""What stands in a street scene; each object is painted at its ground line with its height in px."""

import numpy as np

from segprune.dataset.augment import Pixels
from segprune.dataset.streets_canvas import (
    BICYCLIST,
    BUILDING,
    CAR,
    FENCE,
    PEDESTRIAN,
    POLE,
    SIGN,
    TREE,
    Canvas,
    Point,
)


def building(canvas: Canvas, left: float, right: float, ground: float, top: float) -> None:
    """A wall with rows of windows and sometimes a gable roof."""
    rng = canvas.rng
    wall = canvas.colour(
        (150, 140, 130), (120, 85, 70), (175, 165, 150), (100, 105, 115), (195, 190, 185), (90, 95, 85)
    )
    canvas.paint(canvas.rectangle(left, top, right, ground), wall, BUILDING, (5, 7, 5))
    if rng.random() < 0.35:
        ridge = top - rng.uniform(0.04, 0.12) * canvas.height
        roof = canvas.polygon((left - 1, top), ((left + right) / 2, ridge), (right + 1, top))
        canvas.paint(roof, canvas.colour((95, 55, 45), (70, 70, 75)), BUILDING, (5, 5, 0))
    width = rng.uniform(0.025, 0.05) * canvas.width
    height = width * rng.uniform(1, 1.7)
    step_x, step_y = width * rng.uniform(1.5, 2.3), height * rng.uniform(1.4, 2)
    glass = canvas.colour((45, 50, 60), (80, 95, 115), (150, 170, 190))
    windows = canvas.blank()
    for y in np.arange(top + height * 0.5, ground - height, step_y):
        rows = slice(max(0, int(y)), max(0, int(y + height)))
        for x in np.arange(left + width * 0.5, right - width, step_x):
            windows[rows, max(0, int(x)) : max(0, int(x + width))] = 1
    canvas.paint(windows * (canvas.label == BUILDING), glass, BUILDING, (5, 8, 0))


def tree(canvas: Canvas, x: float, ground: float, height: float) -> None:
    """A trunk under a crown of overlapping blobs, sometimes with gaps."""
    rng = canvas.rng
    trunk = canvas.line((x, ground), (x, ground - height * 0.5), height * 0.07)
    canvas.paint(trunk, canvas.colour((70, 55, 45), (60, 60, 55)), TREE, (6, 6, 0))
    leaves = canvas.colour((60, 90, 45), (45, 70, 40), (100, 110, 50), (120, 90, 50), (75, 80, 65))
    crown = canvas.blank()
    for _ in range(rng.integers(4, 9)):
        centre = x + rng.normal(0, height * 0.17), ground - height * 0.68 + rng.normal(0, height * 0.15)
        crown |= canvas.ellipse(centre, height * rng.uniform(0.1, 0.22), height * rng.uniform(0.1, 0.2))
    if rng.random() < 0.5:
        crown = crown * (canvas.fine > -1.1)
    canvas.paint(crown, leaves, TREE, (14, 16, 0))


def pole(canvas: Canvas, x: float, ground: float, height: float) -> None:
    """A plain post, or a lamp post with an arm towards the road."""
    metal, thickness = _post(canvas, x, ground, height)
    if canvas.rng.random() < 0.5:
        inwards = 1 if x < canvas.width / 2 else -1
        tip = x + inwards * height * 0.25, ground - height * 1.03
        canvas.paint(canvas.line((x, ground - height), tip, thickness), metal, POLE, (3, 3, 0))


def sign(canvas: Canvas, x: float, ground: float, height: float) -> None:
    """A round, square or triangular plate on a post; a large one carries a mark."""
    rng = canvas.rng
    _post(canvas, x, ground, height)
    half = max(2.0, height * rng.uniform(0.07, 0.13))
    y = ground - height * rng.uniform(0.82, 1)
    shape = rng.integers(3)
    plate = canvas.colour((190, 40, 40), (40, 80, 170), (220, 215, 210), (215, 185, 50), (60, 120, 70))
    if shape == 0:
        mask = canvas.ellipse((x, y), half, half)
    elif shape == 1:
        mask = canvas.rectangle(x - half, y - half * 0.8, x + half + 1, y + half * 0.8 + 1)
    else:
        mask = canvas.polygon((x - half, y + half * 0.8), (x + half, y + half * 0.8), (x, y - half))
    canvas.paint(mask, plate, SIGN, (4, 4, 0))
    if half >= 3:
        mark = canvas.rectangle(x - half * 0.4, y - half * 0.25, x + half * 0.4 + 1, y + half * 0.25 + 1)
        canvas.paint(mark, canvas.colour((235, 235, 235), (30, 30, 30)), SIGN, (3, 3, 0))


def fence(canvas: Canvas, far: Point, near: Point, height: float) -> None:
    """A wall, or posts and two rails; what shows between them is labelled fence as well."""
    material = canvas.colour((120, 110, 95), (85, 88, 92), (165, 160, 155), (70, 85, 70))
    (x0, y0), (x1, y1) = far, near
    mask = canvas.polygon((x0, y0), (x1, y1), (x1, y1 - height), (x0, y0 - height))
    if canvas.rng.random() < 0.6:
        canvas.label[mask > 0] = FENCE
        posts = canvas.blank()
        posts[:, :: max(2, int(height * 0.22))] = 1
        mask = posts * mask
        for level in (0.85, 0.2):
            mask |= canvas.line((x0, y0 - height * level), (x1, y1 - height * level))
    canvas.paint(mask, material, FENCE, (6, 6, 0))


def car(canvas: Canvas, x: float, ground: float, height: float) -> None:
    """A car from the side (long) or from the front (short), with shadow, glass, wheels and lights."""
    width = height * canvas.rng.choice([1.1, 1.25, 2.2])
    lacquer = canvas.colour(
        (170, 30, 30), (30, 50, 110), (200, 200, 205), (40, 40, 45), (120, 125, 130), (60, 95, 70),
        (185, 160, 60), spread=30,
    )  # fmt: skip
    shadow = canvas.ellipse((x, ground), width * 0.52, height * 0.08)
    canvas.paint(shadow, canvas.colour((40, 40, 42)), None, (2, 2, 0))

    def at(*places: Point) -> Pixels:
        """Polygon of places in widths right of the middle and heights above the ground."""
        return canvas.polygon(*((x + right * width, ground - up * height) for right, up in places))

    if width > height * 1.8:
        body = at(
            (-0.5, 0.12),
            (-0.5, 0.52),
            (-0.28, 0.58),
            (-0.18, 1),
            (0.22, 1),
            (0.36, 0.58),
            (0.5, 0.5),
            (0.5, 0.12),
        )
    else:
        body = at((-0.5, 0.1), (-0.5, 0.55), (-0.36, 1), (0.36, 1), (0.5, 0.55), (0.5, 0.1))
    lit_from_above = np.linspace(18, -22, canvas.height, dtype=np.float32)[:, None]
    canvas.paint(body, lacquer, CAR, (4, 5, 0), lit_from_above)
    glass = at((-0.27, 0.6), (-0.2, 0.92), (0.2, 0.92), (0.29, 0.6))
    canvas.paint(glass, canvas.colour((45, 55, 65), (110, 130, 150)), CAR)
    for side in (-0.32, 0.32):
        wheel = canvas.ellipse((x + side * width, ground - height * 0.1), height * 0.13, height * 0.14)
        canvas.paint(wheel, canvas.colour((28, 28, 30), spread=8), CAR, (4, 3, 0))
    if height > 8:
        light = canvas.colour((230, 220, 190), (190, 50, 40))
        for side in (-0.42, 0.42):
            lamp = canvas.ellipse((x + side * width, ground - height * 0.42), height * 0.06, height * 0.05)
            canvas.paint(lamp, light, CAR, (2, 2, 0))


def pedestrian(canvas: Canvas, x: float, ground: float, height: float) -> None:
    """A walking figure."""
    coat = _coat(canvas)
    trousers = canvas.colour((45, 48, 60), (80, 70, 60), (35, 35, 38))
    stride = height * canvas.rng.uniform(0.03, 0.13)
    for foot in (-stride, stride):
        leg = canvas.line((x, ground - height * 0.48), (x + foot, ground), height * 0.1)
        canvas.paint(leg, trousers, PEDESTRIAN, (4, 4, 0))
    _upper_body(canvas, (x, ground), height, coat, PEDESTRIAN)


def bicyclist(canvas: Canvas, x: float, ground: float, height: float) -> None:
    """A rider and the bicycle; what shows through the wheels keeps its own label."""
    frame = canvas.colour((40, 40, 42), (150, 40, 40), (50, 90, 150))
    radius = height * 0.2
    crank = (x, ground - height * 0.42)
    tubes = canvas.blank()
    for side in (-0.28, 0.28):
        hub = (x + side * height, ground - radius)
        wheel = canvas.ellipse(hub, radius, radius, max(1, int(height * 0.05)))
        canvas.paint(wheel, frame, BICYCLIST, (3, 3, 0))
        tubes |= canvas.line(hub, crank, height * 0.05)
    canvas.paint(tubes, frame, BICYCLIST, (3, 3, 0))
    _upper_body(canvas, (x, ground - height * 0.12), height * 0.9, _coat(canvas), BICYCLIST)
    leg = canvas.line(crank, (x + height * 0.05, ground - height * 0.1), height * 0.08)
    canvas.paint(leg, canvas.colour((50, 50, 60)), BICYCLIST, (3, 3, 0))


def _post(canvas: Canvas, x: float, ground: float, height: float) -> tuple[np.ndarray, float]:
    metal, thickness = canvas.colour((110, 110, 112), (70, 72, 75), (140, 135, 125)), max(1.0, height * 0.03)
    canvas.paint(canvas.line((x, ground), (x, ground - height), thickness), metal, POLE, (3, 3, 0))
    return metal, thickness


def _coat(canvas: Canvas) -> np.ndarray:
    return canvas.colour(
        (150, 50, 50), (50, 60, 110), (60, 60, 62), (170, 165, 155), (70, 100, 70), (120, 90, 60), spread=30
    )


def _upper_body(canvas: Canvas, foot: Point, height: float, coat: np.ndarray, label: int) -> None:
    x, ground = foot
    torso = canvas.ellipse((x, ground - height * 0.64), height * 0.12, height * 0.21)
    canvas.paint(torso, coat, label, (5, 5, 0))
    head = canvas.ellipse((x, ground - height * 0.92), height * 0.065, height * 0.085)
    canvas.paint(head, canvas.colour((190, 150, 125), (110, 80, 65), (60, 50, 45)), label, (4, 3, 0))
