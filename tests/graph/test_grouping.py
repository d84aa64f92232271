from torch import nn

from segprune.graph.grouping import TOGETHER, groups_of, made_by, why_whole
from segprune.graph.wiring import LOGITS, wiring
from tests.toys import Concat, Plain, Residual


def test_a_layer_says_why_it_stays() -> None:
    net = Concat()
    wired = wiring(net)

    def why(name: str) -> str:
        units = made_by(name, net.get_submodule(name), wired)
        assert units is not None
        return why_whole(net, units, name, wired)

    assert (why("stem.0"), why("head"), why("aux")) == ("", LOGITS, "it only serves training")


def test_channels_of_which_several_go_together_are_no_group_of_single_ones() -> None:
    net = Residual()
    wired = wiring(net)
    units = made_by("stem.0", net.stem[0], wired)
    assert units is not None
    assert why_whole(net, units.repeat(2), "stem.0", wired) == TOGETHER


def test_a_norm_or_a_layer_that_does_not_run_makes_no_channels() -> None:
    net = Plain()
    net.spare = nn.Conv2d(4, 4, 1)
    wired = wiring(net)
    assert made_by("first.1", net.first[1], wired) is made_by("spare", net.spare, wired) is None
    assert [group.name for group in groups_of(net, wired)] == ["first.0", "second.0", "bare"]
