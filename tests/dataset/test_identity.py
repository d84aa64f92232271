import dataclasses

import numpy as np
import pytest

from segprune.dataset.augment import resized_crop
from segprune.dataset.identity import digest, identify, pixels_sha256
from segprune.dataset.labels import LabelSpace
from tests.dataset.trees import ALL, OFF, touched

CONTENTS = {"fit": ["a", "b"], "select": ["c"], "report": ["d"]}
SPACE = LabelSpace(classes=("x", "y"), palette=((0, 0, 1), (0, 0, 2)), ignore_index=255)


def told(contents=CONTENTS, **changes):
    arguments = {
        "space": SPACE, "code": None, "augmentation": resized_crop(OFF, (6, 8)), "size_hw": (6, 8), "seed": 0,
    }  # fmt: skip
    return identify(contents, **(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({}, set()),
        ({"seed": 1}, {"fit"}),
        ({"augmentation": resized_crop({**OFF, "flip": 0.5}, (6, 8))}, {"fit"}),
        ({"augmentation": resized_crop(OFF, (8, 8))}, {"fit"}),
        ({"size_hw": (12, 16)}, ALL - {"fit"}),
        ({"code": tuple(range(256))}, ALL),
        ({"bands": 1}, ALL),
        ({"space": dataclasses.replace(SPACE, ignore_index=254)}, ALL),
        ({"space": dataclasses.replace(SPACE, classes=("y", "x"))}, ALL),
        ({"space": dataclasses.replace(SPACE, palette=((9, 9, 9), (8, 8, 8)))}, set()),
        ({"contents": {**CONTENTS, "fit": ["b", "a"]}}, {"fit", "calibration"}),
        ({"contents": {**CONTENTS, "fit": ["a"]}}, {"fit", "calibration"}),
        ({"contents": {**CONTENTS, "select": ["z"]}}, {"select"}),
        ({"contents": {**CONTENTS, "select": []}}, {"select"}),
        ({"contents": {**CONTENTS, "report": ["z"]}}, {"report"}),
    ],
)
def test_each_input_touches_its_roles_and_no_other(changes, roles):
    assert touched(told(), told(**changes)) == roles


def test_no_select_images_have_no_digest():
    assert told({**CONTENTS, "select": []}).select is None


def test_views_of_the_same_files_differ():
    same = told({"fit": ["a"], "select": ["b"], "report": ["a"]})
    assert len({same.fit, same.calibration, same.report}) == 3  # the label's size tells the last two apart


def test_digest_ignores_the_order_of_its_parts_and_nothing_else():
    assert digest(a=1, b=[2, 3]) == digest(b=[2, 3], a=1)
    assert len({digest(a=1), digest(a=2), digest(b=1), digest(a=[1])}) == 4


def test_pixel_digest_sees_values_and_shape():
    flat = np.arange(6, dtype=np.uint8)
    assert pixels_sha256(flat) == pixels_sha256(flat.copy())
    assert len({pixels_sha256(flat), pixels_sha256(flat.reshape(2, 3)), pixels_sha256(flat[::-1])}) == 3
