import numpy as np
import pytest

from segprune.dataset.streets_canvas import CAR, ROAD, VOID, Canvas, value_noise

PLAIN = (0, 0, 0)


@pytest.fixture
def canvas():
    return Canvas(np.random.default_rng(0), (32, 48))


def test_new_canvas_is_void(canvas):
    assert (canvas.label == VOID).all()


def test_paint_changes_the_mask_and_nothing_else(canvas):
    canvas.paint(canvas.rectangle(4, 8, 10, 12), np.float32([1, 2, 3]), CAR, PLAIN)
    inside = np.zeros((32, 48), bool)
    inside[8:12, 4:10] = True
    assert ((canvas.label == CAR) == inside).all()
    assert (canvas.image[inside] == [1, 2, 3]).all()
    assert (canvas.image[~inside] == 0).all()


def test_later_paint_covers_earlier_and_no_label_keeps_the_old_one(canvas):
    canvas.paint(canvas.rectangle(0, 0, 10, 10), np.float32([1, 1, 1]), ROAD, PLAIN)
    canvas.paint(canvas.rectangle(5, 0, 15, 10), np.float32([2, 2, 2]), CAR, PLAIN)
    canvas.paint(canvas.rectangle(0, 0, 2, 2), np.float32([3, 3, 3]), None, PLAIN)
    assert [int((canvas.label == label).sum()) for label in (ROAD, CAR)] == [50, 100]
    assert canvas.image[0, 0, 0] == 3


def test_shade_and_texture_are_added_in_gray_levels(canvas):
    rows = np.arange(32, dtype=np.float32)[:, None]
    canvas.paint(canvas.rectangle(0, 0, 48, 32), np.float32([10, 20, 30]), ROAD, (2, 0, 0), rows)
    assert np.allclose(canvas.image[5, 7], np.array([15, 25, 35]) + 2 * canvas.fine[5, 7])


def test_shapes_outside_the_frame_are_empty_and_paint_nothing(canvas):
    for mask in (
        canvas.rectangle(-9, -9, -1, -1),
        canvas.ellipse((-50, 5), 3, 3),
        canvas.rectangle(5, 5, 5, 9),
    ):
        canvas.paint(mask, np.float32([9, 9, 9]), CAR)
    assert (canvas.label == VOID).all()


def test_darken_multiplies(canvas):
    canvas.paint(canvas.rectangle(0, 0, 2, 2), np.float32([8, 8, 8]), ROAD, PLAIN)
    canvas.darken(canvas.rectangle(0, 0, 1, 1), 0.5)
    assert canvas.image[0, :2, 0].tolist() == [4, 8]


def test_noise_is_bounded_and_smooth():
    noise = value_noise(np.random.default_rng(0), (64, 64), 16)
    assert noise.shape == (64, 64)
    assert 0.1 < np.abs(noise).max() <= 1
    # at most 2 over one grid step, and 64 px are enlarged from 6 grid points
    assert np.abs(np.diff(noise, axis=0)).max() <= 2 * 6 / 64 + 1e-6
