import colorsys
from itertools import combinations

import pytest

from segprune.tracking.color import color
from tests.test_conf import CONF


def hls(text):
    return colorsys.rgb_to_hls(*(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)))


def test_a_ratio_changes_the_shade_and_not_the_hue():
    low, high = hls(color("taylor", 0.2)), hls(color("taylor", 0.8))
    assert low[0] == pytest.approx(high[0], abs=0.01)
    assert low[1] > high[1] + 0.2


def test_all_pruners_have_hues_that_can_be_told_apart():
    names = [file.stem for file in (CONF / "pruner").glob("*.yaml")]
    assert {"taylor", "sirfp", "sirfp_paper"} < set(names)
    hues = [hls(color(name, 0.3))[0] for name in names]
    # 14 of 360 degrees, measured around the circle.
    assert min(min(abs(a - b), 1 - abs(a - b)) for a, b in combinations(hues, 2)) > 14 / 360


def test_the_same_run_has_the_same_colour_in_any_experiment():
    assert color("fpgm", 0.5) == color("fpgm", 0.5)
    assert len(color("fpgm", 0.5)) == 7
