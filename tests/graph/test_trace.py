import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segprune.graph.cut import cut, mask_error
from segprune.graph.trace import trace
from segprune.graph.units import first_of, together
from segprune.model.contract import SegmentationNet
from tests.toys import (
    CLASSES,
    TOYS,
    Concat,
    Depthwise,
    Plain,
    PooledGate,
    Residual,
    SqueezeExcite,
    Upsampling,
    conv_bn,
    toy,
)


def law_error(kind: type[SegmentationNet]) -> float:
    """Error of a cut of the second channel, or unit of them, and every third one further on, in every group."""
    net = toy(kind)
    groups = trace(net)
    plan = {group.name: together(group, first_of(group)[1::3].tolist()) for group in groups}
    return mask_error(net, cut(net, plan), groups, plan)


def sizes(net: SegmentationNet) -> dict[str, int]:
    return {group.name: group.size for group in trace(net)}


def test_groups_of_known_structures() -> None:
    assert sizes(Plain()) == {"first.0": 6, "second.0": 5, "bare": 4}
    assert sizes(Residual()) == {"stem.0": 6, "inner.0": 4}  # stem, outer and bare make one stream
    assert sizes(Depthwise()) == {"expand.0": 8, "project.0": 5}
    assert sizes(Concat()) == {"stem.0": 5, "near.0": 4, "far.0": 6, "pooled.0": 4, "project.0": 6}
    assert sizes(Upsampling()) == {"fine.0": 4, "coarse.0": 6, "up.0": 5}


def test_a_residual_stream_has_every_producer_and_consumer() -> None:
    stream = next(group for group in trace(Residual()) if group.name == "stem.0")
    roles = {(member.layer, member.axis) for member in stream.members}
    assert roles == {
        ("stem.0", "out"),
        ("stem.1", "out"),
        ("inner.0", "in"),
        ("outer.0", "out"),
        ("outer.1", "out"),
        ("bare", "in"),
        ("bare", "out"),
        ("head", "in"),
    }


def test_a_reader_behind_a_concatenation_knows_where_the_channels_sit() -> None:
    groups = {group.name: group for group in trace(Concat())}
    places = {
        name: next(m for m in groups[name].members if m.layer == "project.0").own.tolist()
        for name in ("near.0", "far.0", "pooled.0")
    }
    assert places == {"near.0": [0, 1, 2, 3], "far.0": [4, 5, 6, 7, 8, 9], "pooled.0": [10, 11, 12, 13]}


@pytest.mark.parametrize("kind", TOYS)
def test_tracing_leaves_the_network_as_it_was(kind: type[SegmentationNet]) -> None:
    net = toy(kind).train()
    next(net.parameters()).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    flags = [parameter.requires_grad for parameter in net.parameters()]
    rng = torch.get_rng_state()
    trace(net)
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)


def test_frozen_layers_are_in_the_groups() -> None:
    net = Plain()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    assert sizes(net) == sizes(Plain())


class ReadsTwice(Plain):
    """Reads the same channels twice, through a concatenation with themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.bare(torch.relu(self.second(torch.relu(self.first(self.normalise(image))))))
        logits: Tensor = self.head(torch.cat([x, x], 1))
        return logits


def test_a_layer_that_reads_channels_twice_knows_both_places() -> None:
    group = next(group for group in trace(ReadsTwice()) if group.name == "bare")
    reader = next(member for member in group.members if member.layer == "head")
    places = dict(zip(reader.own.tolist(), reader.root.tolist(), strict=True))
    assert places == {own: own % 4 for own in range(8)}


def test_of_two_factors_the_one_computed_from_the_other_rescales() -> None:
    for kind, factors in ((SqueezeExcite, {"excite.0"}), (PooledGate, {"excite.0", "excite.1"})):
        group = next(group for group in trace(kind()) if group.name == "wide.0")
        assert {member.layer for member in group.members if member.axis == "scale"} == factors
        assert {member.layer for member in group.members if member.axis == "out"} == {"wide.0", "wide.1"}
        assert law_error(kind) < 1e-13


class HandMadeSwish(Plain):
    """Both factors of a product come from the same convolution."""

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(self.normalise(image))
        x = self.second(x * x.sigmoid())
        return self.head(F.relu(self.bare(x)))


def test_factors_of_one_layer_do_not_rescale_each_other() -> None:
    assert all(member.axis != "scale" for group in trace(HandMadeSwish()) for member in group.members)


class OverChannels(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NormsOverChannels(SegmentationNet):
    """Norms that mix channels: all of them, and those of two halves."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.over_all = nn.Conv2d(3, 6, 3, padding=1), OverChannels(6)
        self.second, self.over_some = nn.Conv2d(6, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.third, self.head = conv_bn(8, 5), nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.over_all(self.first(self.normalise(image))))
        x = F.relu(self.over_some(self.second(x)))
        return self.head(F.relu(self.third(x)))


def test_channels_of_norms_over_several_channels_stay_whole() -> None:
    assert sizes(NormsOverChannels()) == {"second": 8, "third.0": 5}
    assert law_error(NormsOverChannels) < 1e-13


class Cascade(SegmentationNet):
    """Coarse logits, trained and read by the layers of the fine ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.mix = conv_bn(3, 6), conv_bn(6, 5), conv_bn(5 + CLASSES, 6, 1)
        self.coarse, self.head = nn.Conv2d(6, CLASSES, 1), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.all_logits(image)[0]

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.first(self.normalise(image)))
        coarse = self.coarse(x)
        joined = torch.cat([F.relu(self.second(x)), coarse], 1)
        return self.head(F.relu(self.mix(joined))), coarse


def test_logits_that_feed_another_layer_are_logits() -> None:
    assert sizes(Cascade()) == {"first.0": 6, "second.0": 5, "mix.0": 6}
    assert law_error(Cascade) < 1e-13


class OnImage(SegmentationNet):
    """Blurs the image, adds to it and reads it in front of features."""

    def __init__(self) -> None:
        super().__init__()
        self.blur, self.change = conv_bn(3, 3, groups=3), conv_bn(3, 3)
        self.first, self.project = conv_bn(3, 6), conv_bn(9, 5)
        self.head = nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        image = self.normalise(image)
        image = image + self.change(self.blur(image))
        joined = torch.cat([image, F.relu(self.first(image))], 1)
        return self.head(F.relu(self.project(joined)))


def test_channels_of_the_image_stay_whole_and_those_beside_them_know_their_places() -> None:
    groups = {group.name: group for group in trace(OnImage())}
    assert {name: group.size for name, group in groups.items()} == {"first.0": 6, "project.0": 5}
    reader = next(member for member in groups["first.0"].members if member.layer == "project.0")
    assert reader.own.tolist() == [3, 4, 5, 6, 7, 8]
    assert law_error(OnImage) < 1e-13


class Parts(SegmentationNet):
    """Channels in two parts, by chunk and by slices, and channels that become pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = conv_bn(3, 8), conv_bn(4, 5), conv_bn(4, 4)
        self.middle, self.part = conv_bn(9, 7), conv_bn(3, 8, stride=2)
        self.fine, self.head = conv_bn(2, 5), nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        left, right = F.relu(self.first(self.normalise(image))).chunk(2, 1)
        x = F.relu(self.middle(torch.cat([F.relu(self.left(left)), self.right(right)], 1)))
        x = F.pixel_shuffle(F.relu(self.part(x[:, 2:5])), 2)
        return self.head(F.relu(self.fine(x)))


def test_channels_that_slices_part_or_that_become_pixels_stay_whole_and_those_of_chunks_go() -> None:
    assert sizes(Parts()) == {"first.0": 8, "left.0": 5, "right.0": 4, "fine.0": 5}
    assert law_error(Parts) < 1e-13


class Multiplied(SegmentationNet):
    """Two blurs of every channel, side by side: a convolution in groups that is not depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv_bn(3, 6), conv_bn(6, 12, groups=6)
        self.project = conv_bn(12, 5, 1)
        self.head = nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        return self.head(F.relu(self.project(x)))


def test_a_convolution_with_one_input_per_group_loses_the_same_place_of_each() -> None:
    assert sizes(Multiplied()) == {"second.0": 12, "project.0": 5}
    assert law_error(Multiplied) < 1e-13
