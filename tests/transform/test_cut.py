import pytest
import torch

from segprune.graph.cut import cut
from segprune.transform.cut import Cut
from tests.toys import Plain, toy

PLAN = {"first.0": (0, 4), "second.0": (), "bare": (3,)}


def test_replaying_it_is_cutting_by_its_plan() -> None:
    net = toy(Plain)
    small, expected = Cut(PLAN).replay(net), cut(net, PLAN)
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(small(image), expected(image))
    assert small.first[0].out_channels == 4  # of 6
    assert net.first[0].out_channels == 6


def test_it_comes_back_from_json_and_says_what_it_did() -> None:
    one = Cut(PLAN)
    assert one.to_json() == {"plan": {"first.0": [0, 4], "second.0": [], "bare": [3]}}
    assert Cut.from_json(one.to_json()) == one
    assert one.describe() == "cut 3 channels of 2 layers"


@pytest.mark.parametrize("plan", [None, [], {"a": 0}, {"a": [-1]}, {"a": [True]}, {"a": [0.5]}, {"a": ["0"]}])
def test_what_is_no_plan_is_refused(plan: object) -> None:
    with pytest.raises(ValueError, match="input"):
        Cut.from_json({"plan": plan})
