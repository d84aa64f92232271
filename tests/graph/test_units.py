import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.graph.cut import cut, fit_shapes, mask_error
from segprune.graph.group import ChannelGroup, Member
from segprune.graph.proof import _shaken, trial_plan
from segprune.graph.trace import followed
from segprune.graph.units import by_unit, first_of, joined, together, unit_of
from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, InGroups, conv_bn, toy


def group(layer: str, axis: str, size: int) -> ChannelGroup:
    every = torch.arange(size)
    member = Member(layer=layer, axis=axis, own=every, root=every)  # type: ignore[arg-type]
    return ChannelGroup(name="root", size=size, members=(member,))


@pytest.mark.parametrize(
    ("layer", "axis", "size", "units"),
    [
        (nn.GroupNorm(2, 6), "out", 6, [0, 0, 0, 1, 1, 1]),
        (nn.GroupNorm(6, 6), "out", 6, None),  # each channel by itself
        (nn.Conv2d(6, 4, 1, groups=2), "in", 6, [0, 1, 2, 0, 1, 2]),
        (nn.Conv2d(6, 4, 1, groups=2), "out", 4, [0, 1, 0, 1]),
        (nn.Conv2d(3, 6, 1, groups=3), "out", 6, [0, 1, 0, 1, 0, 1]),
        (nn.Conv2d(4, 4, 1, groups=4), "in", 4, None),  # depthwise
        (nn.BatchNorm2d(4), "out", 4, None),
    ],
)
def test_units_by_hand(layer: nn.Module, axis: str, size: int, units: list[int] | None) -> None:
    found = joined(group("one", axis, size), nn.ModuleDict({"one": layer}))
    assert isinstance(found, ChannelGroup)
    assert (None if found.units is None else found.units.tolist()) == units


@pytest.mark.parametrize(
    ("layer", "axis", "size", "reason"),
    [
        (nn.GroupNorm(1, 6), "out", 6, "go only together"),
        (nn.GroupNorm(2, 6, affine=False), "out", 6, "no file would say"),
        (nn.Conv2d(3, 6, 1, groups=3), "in", 3, "go only together"),
        (nn.ConvTranspose2d(6, 4, 1, groups=2), "in", 6, "transposed"),
        (nn.GroupNorm(2, 6), "out", 4, "with other layers"),  # the second of its groups goes on elsewhere
    ],
)
def test_what_has_no_units_stays_whole(layer: nn.Module, axis: str, size: int, reason: str) -> None:
    assert reason in str(joined(group("one", axis, size), nn.ModuleDict({"one": layer})))


def test_units_of_several_layers_are_joined_through_any_chain_and_heads_count_too() -> None:
    every = torch.arange(8)
    members = tuple(Member(layer=name, axis="out", own=every, root=every) for name in ("four", "two"))
    whole = ChannelGroup(name="root", size=8, members=members)
    net = nn.ModuleDict({"four": nn.GroupNorm(4, 8), "two": nn.GroupNorm(2, 8)})
    found = joined(whole, net)
    assert isinstance(found, ChannelGroup)
    assert unit_of(found).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    crossed = joined(whole, nn.ModuleDict({"four": nn.GroupNorm(4, 8), "two": nn.Conv2d(8, 8, 1, groups=4)}))
    assert "go only together" in str(crossed)
    heads = joined(whole, nn.ModuleDict({"four": nn.ReLU(), "two": nn.ReLU()}), [(every, every // 2)])
    assert isinstance(heads, ChannelGroup)
    assert unit_of(heads).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_unit_goes_as_a_whole_and_is_one_channel_for_criteria() -> None:
    found = joined(group("one", "out", 6), nn.ModuleDict({"one": nn.Conv2d(6, 6, 1, groups=2)}))
    assert isinstance(found, ChannelGroup)
    assert together(found, [4]) == together(found, [1, 4]) == (1, 4)
    assert first_of(found).tolist() == [0, 1, 2]
    seen = by_unit(found)
    assert (seen.size, seen.units, seen.members[0].root.tolist()) == (3, None, [0, 1, 2, 0, 1, 2])
    plain = group("one", "out", 3)
    assert (by_unit(plain), together(plain, [2, 0]), first_of(plain).tolist()) == (plain, (0, 2), [0, 1, 2])


class InHeads(InGroups):
    """Attention whose number of heads follows from the width, and one whose width of a head does."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Conv2d(12, 8, 1)
        self.q, self.k, self.v, self.o = (nn.Linear(8, n) for n in (12, 12, 12, 8))
        self.o, self.a, self.b = nn.Linear(12, 8), nn.Linear(8, 12), nn.Linear(12, 8)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.tokens(F.avg_pool2d(self.features(image), 4))
        n, _, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (one(tokens).view(n, h * w, -1, 4).transpose(1, 2) for one in (self.q, self.k, self.v))
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, -1)
        tokens = tokens + self.o(read)
        places = self.a(tokens).unflatten(2, (3, -1))
        mixed = (places.mean(1, keepdim=True) * places).flatten(2)
        x = (tokens + self.b(mixed)).transpose(1, 2).reshape(x.shape)
        return F.interpolate(self.head(x), size=image.shape[2:])


@pytest.mark.parametrize("kind", [InGroups, InHeads])
def test_whole_norm_groups_places_and_heads_go_exactly_and_come_back(kind: type[InGroups]) -> None:
    net = kind().eval()
    found = followed(net)
    units = {one.name: unit_of(one).tolist() for one in found.groups}
    assert units["normed"] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert units["into.0"] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert units["over.0"] == [0, 1, 2, 0, 1, 2]
    if kind is InHeads:
        assert units["v" if "v" in units else "q"] == [0] * 4 + [1] * 4 + [2] * 4
        assert units["a"] == [0, 1, 2, 3] * 3
    shaken, plan = _shaken(net), trial_plan(found.groups)
    small = cut(shaken, plan)
    assert all(plan.values())
    assert mask_error(shaken, small, found.groups, plan) < 1e-13
    back = kind().eval()
    fit_shapes(back, small.state_dict())
    back.load_state_dict(small.state_dict())
    assert (back.norm.num_groups, back.over[0].groups) == (2, 2)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(back(image), small.eval()(image))


class Ghost(SegmentationNet):
    """Channels, and beside them what a depthwise convolution makes of each; both gated by a layer of as many."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.some, self.more = conv_bn(3, 12), conv_bn(3, 6), conv_bn(6, 6, groups=6)
        self.head = nn.Conv2d(12, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.normalise(image)
        some = F.relu(self.some(x))
        both = torch.cat([some, F.relu(self.more(some))], dim=1)
        return self.head(both * self.gate(x).sigmoid())


def test_channels_that_come_to_one_place_by_two_ways_go_together() -> None:
    net = toy(Ghost)
    (one,) = followed(net).groups
    assert (one.name, unit_of(one).tolist()) == ("gate.0", [0, 1, 2, 3, 4, 5] * 2)
    plan = {"gate.0": together(one, [1, 3, 10])}
    small = cut(net, plan)
    assert (small.some[0].out_channels, small.more[0].groups, small.head.in_channels) == (3, 3, 6)
    assert mask_error(net, small, [one], plan) < 1e-13
    assert mask_error(net, cut(net, {"gate.0": (1,)}), [one], {"gate.0": (1,)}) > 1e-3


def test_a_part_of_a_norm_group_is_never_cut() -> None:
    with pytest.raises(ValueError, match="channels of a GroupNorm go only with all others of their group"):
        cut(InGroups(), {"normed": (0, 1)})
