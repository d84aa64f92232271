from itertools import pairwise

import numpy as np

from segprune.graph.channels import FIXED, Channels


def test_channels_that_are_united_are_one_unit_however_long_the_chain() -> None:
    channels = Channels()
    rows = [channels.new(3) for _ in range(50)]
    for one, other in pairwise(rows):
        channels.unite(one, other, "never fixed")
    alone = channels.new(2)
    found = channels.resolved()
    assert all((found.units[row] == rows[0]).all() for row in rows)
    assert (found.units[alone] == alone).all()
    assert set(found.reasons) == {FIXED}


def test_what_is_united_with_something_fixed_stays_and_the_first_reason_is_told() -> None:
    channels = Channels()
    one, other = channels.new(3), channels.new(3)
    channels.unite(one, np.array([other[0], FIXED, other[2]]), "beside the image")
    channels.fix(other[2:], "softmax")
    channels.fix(one, "later")
    found = channels.resolved()
    assert [found.reasons[unit] for unit in found.units[one].tolist()] == [
        "later",
        "beside the image",
        "softmax",
    ]
    assert found.units[other[1]] not in found.reasons
