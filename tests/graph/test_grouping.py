import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segprune.graph.cut import cut, mask_error
from segprune.graph.grouping import grouped
from segprune.model.contract import SegmentationNet
from tests.foreign_nets import PartlyWritten
from tests.graph.test_trace import Multiplied, NormsOverChannels, OnImage, Parts
from tests.toys import CLASSES, Concat, Plain, Residual, conv_bn, toy


def reasons(net: SegmentationNet) -> dict[str, str]:
    return {one.layer: one.reason for one in grouped(net).whole}


def test_of_a_network_that_can_be_cut_nothing_is_whole() -> None:
    found = grouped(Residual())
    assert found.whole == ()
    assert found.widths == {"stem.0": 6, "inner.0": 4, "outer.0": 6, "bare": 6}


def test_what_only_trains_and_makes_logits_has_no_width() -> None:
    assert grouped(Concat()).widths.keys() == {"stem.0", "near.0", "far.0", "pooled.0", "project.0"}


def test_what_stays_whole_has_a_reason() -> None:
    assert reasons(NormsOverChannels()) == {
        "first": "a LayerNorm over several of its channels",
    }
    together = "all of its channels go only together (norms or convolutions in groups, one head)"
    assert reasons(Multiplied()) == {"first.0": together}
    assert reasons(OnImage())["change.0"] == "it is joined with the image or with logits"
    assert reasons(Parts())["part.0"] == "its channels become pixels"
    assert reasons(Parts())["middle.0"] == "parts of its channels go to different layers"
    assert {one.layer: one.channels for one in grouped(Parts()).whole} == {"middle.0": 7, "part.0": 8}


def test_places_that_a_reader_does_not_have_are_seen_without_a_cut() -> None:
    assert reasons(PartlyWritten()) == {
        "wide": "another layer has no places for all of its channels (a view or reshape between them)"
    }


class Gated(Plain):
    """One map for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(5, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.second(F.relu(self.first(self.normalise(image))))
        return self.head(F.relu(self.bare(F.relu(x * self.gate(x).sigmoid()))))


def test_a_whole_group_counts_the_channels_of_all_its_layers() -> None:
    (one,) = grouped(Gated()).whole
    assert (one.channels, one.reason) == (6, "it is joined with a single channel")


class Scales(Plain):
    """Res2Net: each of four parts is read together with what was made of the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.head = conv_bn(6, 12, 1), nn.Conv2d(12, CLASSES, 1)
        self.scales = nn.ModuleList(conv_bn(3, 3) for _ in range(3))

    def forward(self, image: Tensor) -> Tensor:
        first, *parts = self.second(F.relu(self.first(self.normalise(image)))).relu().chunk(4, 1)
        made = [first]
        for part, scale in zip(parts, self.scales, strict=True):
            made.append(F.relu(scale(part + made[-1] if len(made) > 1 else part)))
        return self.head(torch.cat(made, 1))


@pytest.mark.parametrize("gone", [(0,), (0, 2)])
def test_layers_that_read_some_of_equal_parts_are_in_the_group_of_all_parts(gone: tuple[int, ...]) -> None:
    net = toy(Scales)
    groups = {group.name: group for group in grouped(net).groups}
    assert {name: group.size for name, group in groups.items()} == {
        "first.0": 6,
        "second.0": 12,
        "scales.2.0": 3,
    }
    units = groups["second.0"].units
    assert units is not None
    assert units.tolist() == [0, 1, 2] * 4
    plan = {"second.0": tuple(channel for channel in range(12) if channel % 3 in gone)}
    assert mask_error(net, cut(net, plan), [*groups.values()], plan) < 1e-13


class OfTwo(Plain):
    """Parts of the channels of two layers side by side, of which each part has other ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
        self.left, self.right = nn.Conv2d(6, CLASSES, 1), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        image = self.normalise(image)
        one, other = torch.cat([self.first(image), self.second(image)], 1).relu().chunk(2, 1)
        return self.left(one) + self.right(other)


class OneOfTwo(OfTwo):
    """The second part is read by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.left(self.first(self.normalise(image)).relu().chunk(2, 1)[0])


@pytest.mark.parametrize("kind", [OfTwo, OneOfTwo])
def test_channels_of_some_of_equal_parts_stay_whole(kind: type[SegmentationNet]) -> None:
    found = grouped(kind())
    assert found.groups == ()
    assert {one.reason for one in found.whole} == {"parts of its channels go to different layers"}
