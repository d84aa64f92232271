import pytest
import torch

from segprune.distill.kept import kept, width_of
from segprune.distill.places import Spot
from segprune.graph.trace import trace
from segprune.transform.cut import Cut
from tests.toys import Depthwise, Plain, Residual, Upsampling, toy


def spot(layer: str, side: str) -> Spot:
    return Spot(layer=layer, side=side, channels=(), size_hw=(1, 1))  # type: ignore[arg-type]


def test_cuts_one_after_the_other_are_counted_in_the_channels_of_the_dense_network() -> None:
    net = Plain()  # groups first.0 (6), second.0 (5), bare (4)
    cuts = [Cut({"first.0": (0, 3)}), Cut({"first.0": (1,), "second.0": (4,)})]
    where = [spot("second.0", "in"), spot("second.1", "out"), spot("head", "in"), spot("first.0", "out")]
    found = kept(net, cuts, where)
    assert found is not None
    # 0..5 without 0 and 3: 1, 2, 4, 5; without the second of these: 1, 4, 5
    assert {name: numbers.tolist() for name, numbers in found.items()} == {
        "second.0": [1, 4, 5],
        "second.1": [0, 1, 2, 3],
        "head": [0, 1, 2, 3],
        "first.0": [1, 4, 5],
    }


@pytest.mark.parametrize(
    ("kind", "plan", "layer", "side", "expected"),
    [
        (Residual, {"stem.0": (1, 2)}, "head", "in", [0, 3, 4, 5]),
        (Depthwise, {"expand.0": (0, 7)}, "depthwise.0", "in", [1, 2, 3, 4, 5, 6]),
        (Depthwise, {"expand.0": (0, 7)}, "depthwise.1", "out", [1, 2, 3, 4, 5, 6]),
        (Upsampling, {"coarse.0": (2,)}, "up.0", "in", [0, 1, 3, 4, 5]),
        (Upsampling, {"up.0": (4,)}, "up.0", "out", [0, 1, 2, 3]),
        # the maps of `up` come first in the concatenation, then those of `fine`
        (Upsampling, {"up.0": (4,), "fine.0": (0,)}, "head", "in", [0, 1, 2, 3, 6, 7, 8]),
    ],
)
def test_a_cut_is_followed_through_every_kind_of_layer(kind, plan, layer, side, expected) -> None:
    net = toy(kind)
    assert {*plan} <= {group.name for group in trace(net)}
    before = [tensor.clone() for tensor in net.state_dict().values()]
    found = kept(net, [Cut(plan)], [spot(layer, side)])
    assert found is not None
    assert found[layer].tolist() == expected
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))


def test_of_a_transform_that_is_no_cut_nothing_is_known() -> None:
    assert kept(Plain(), [Cut({"first.0": (0,)}), object()], [spot("head", "in")]) is None  # type: ignore[list-item]


def test_without_transforms_all_channels_are_there() -> None:
    found = kept(Plain(), (), [spot("second.0", "in")])
    assert found is not None
    assert found["second.0"].tolist() == list(range(6))


def test_widths_of_layers_in_groups_are_counted_whole() -> None:
    layer = torch.nn.Conv2d(6, 4, 3, groups=2)
    assert (width_of(layer, "in"), width_of(layer, "out")) == (6, 4)
    turned = torch.nn.ConvTranspose2d(6, 4, 3)
    assert (width_of(turned, "in"), width_of(turned, "out")) == (6, 4)
