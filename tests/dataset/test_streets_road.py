import numpy as np
import pytest

from segprune.dataset.streets_canvas import FENCE, ROAD, Canvas
from segprune.dataset.streets_road import Road, paint_road, roadside_fence

ROAD_AHEAD = Road(40, 96, left=(60, 10), right=(68, 120))


def test_edges_run_straight_from_horizon_to_bottom():
    assert (ROAD_AHEAD.left_at(40), ROAD_AHEAD.left_at(96), ROAD_AHEAD.left_at(68)) == (60, 10, 35)
    assert (ROAD_AHEAD.right_at(40), ROAD_AHEAD.right_at(96), ROAD_AHEAD.right_at(68)) == (68, 120, 94)
    assert ROAD_AHEAD.nearness(68) == 0.5


@pytest.mark.parametrize("seed", range(6))
def test_marks_and_shadows_keep_the_road_label(seed):
    canvas = Canvas(np.random.default_rng(seed), (96, 128))
    paint_road(canvas, ROAD_AHEAD, np.float32([150, 145, 140]))
    for y in range(42, 96, 6):
        between = slice(int(ROAD_AHEAD.left_at(y)) + 2, int(ROAD_AHEAD.right_at(y)) - 1)
        assert (canvas.label[y, between] == ROAD).all()
    assert (canvas.label[:39] != ROAD).all()


@pytest.mark.parametrize("seed", range(6))
def test_fence_stands_beside_the_road(seed):
    canvas = Canvas(np.random.default_rng(seed), (96, 128))
    roadside_fence(canvas, ROAD_AHEAD)
    assert not (canvas.label[60:, 50:80] == FENCE).any()
