import numpy as np
import pytest

from segprune.dataset import streets_objects as objects
from segprune.dataset.streets_canvas import (
    BICYCLIST,
    BUILDING,
    CAR,
    FENCE,
    PEDESTRIAN,
    POLE,
    SIGN,
    TREE,
    VOID,
    Canvas,
)

UPRIGHT = [
    (objects.tree, {TREE}),
    (objects.pole, {POLE}),
    (objects.sign, {POLE, SIGN}),
    (objects.car, {CAR}),
    (objects.pedestrian, {PEDESTRIAN}),
    (objects.bicyclist, {BICYCLIST}),
]


@pytest.mark.parametrize(("draw", "own"), UPRIGHT)
@pytest.mark.parametrize("seed", range(4))
def test_object_paints_its_own_classes_about_its_place(draw, own, seed):
    canvas = Canvas(np.random.default_rng(seed), (96, 128))
    draw(canvas, 64.0, 80.0, 40.0)
    painted = set(np.unique(canvas.label).tolist()) - {VOID}
    rows, columns = np.nonzero(canvas.label != VOID)
    assert painted == own
    # stands on its ground line, about as high as asked (crowns and lamp arms reach a little higher)
    assert 74 <= rows.max() <= 86
    assert 25 <= rows.max() - rows.min() <= 60
    assert columns.min() <= 64 <= columns.max()


@pytest.mark.parametrize(("draw", "_own"), UPRIGHT)
def test_far_object_of_a_few_pixels_still_draws(draw, _own):
    canvas = Canvas(np.random.default_rng(0), (32, 32))
    draw(canvas, 16.0, 20.0, 2.0)
    assert (canvas.label != VOID).any()


def test_building_fills_its_wall():
    canvas = Canvas(np.random.default_rng(0), (96, 128))
    objects.building(canvas, 20.0, 60.0, 70.0, 30.0)
    assert (canvas.label[30:70, 20:60] == BUILDING).all()


def test_fence_is_labelled_between_its_posts_too():
    labelled = []
    for seed in range(8):
        canvas = Canvas(np.random.default_rng(seed), (96, 128))
        objects.fence(canvas, (20.0, 60.0), (60.0, 60.0), 20.0)
        labelled.append(int((canvas.label[40:61, 20:61] == FENCE).sum()))
    assert set(labelled) == {21 * 41}  # with posts or as a wall, the whole quadrilateral, edges included
