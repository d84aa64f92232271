import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segprune.distill.places import spots
from segprune.errors import ConfigError
from segprune.model.bands import for_bands
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet
from tests.toys import CLASSES, Concat, Plain, Residual, conv_bn, toy


class Stages(SegmentationNet):
    """A stem, two residual stages of bottlenecks whose second convolution strides, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 4, stride=2)
        self.one, self.two = (
            nn.ModuleList([self._block(4, 8, 1), self._block(8, 8, 1)]),
            self._block(8, 10, 2),
        )
        self.project = conv_bn(10, 6)
        self.head = nn.Conv2d(6, CLASSES, 1)

    @staticmethod
    def _block(reads: int, makes: int, stride: int) -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                "narrow": conv_bn(reads, 3, 1),
                "middle": conv_bn(3, 3, stride=stride),
                "wide": conv_bn(3, makes, 1),
                "past": nn.Identity() if reads == makes else conv_bn(reads, makes, 1, stride=stride),
            }
        )

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.stem(self.normalise(image)))
        for block in (*self.one, self.two):
            inner = F.relu(block["middle"](F.relu(block["narrow"](x))))
            x = F.relu(block["wide"](inner) + block["past"](x))
        x = self.head(F.relu(self.project(x)))
        return F.interpolate(x, size=image.shape[-2:])


def named(net: SegmentationNet, maps: str, places: list[str] | None = None) -> list[str]:
    return [spot.layer for spot in spots(net, maps, places, (32, 32))]  # type: ignore[arg-type]


def test_a_residual_stage_ends_with_its_stream_not_with_what_the_next_block_makes_before_it_strides() -> None:
    # the convolution `two.narrow` still makes maps of the size of stage one
    assert named(Stages(), "read") == ["two.narrow.0", "project.0", "head"]
    assert named(Stages(), "before_relu") == ["one.1.wide.1", "two.past.1", "project.1"]


def test_a_unet_is_compared_at_the_end_of_every_level_down_and_up() -> None:
    net = unet(num_classes=3, width=4, max_width=8, depth=3, convs_per_level=2, upsample="bilinear")
    sizes = [spot.size_hw for spot in spots(net, "before_relu", None, (32, 32))]
    assert sizes == [(32, 32), (16, 16), (8, 8), (16, 16), (32, 32)]
    assert named(net, "read")[-1] == "classifier"


def test_of_a_concatenated_map_the_channels_of_the_group_are_compared() -> None:
    (far,) = (spot for spot in spots(Concat(), "read", ["project.0"], (32, 32)))
    assert far.channels == tuple(range(14))
    assert "pooled.0" not in named(Concat(), "read")  # it makes maps of one pixel


def test_layers_that_are_named_are_taken_with_all_their_channels() -> None:
    (spot,) = spots(Residual(), "read", ["outer.0"], (16, 16))
    assert (spot.layer, spot.side, spot.channels, spot.size_hw) == ("outer.0", "in", (0, 1, 2, 3), (16, 16))
    (made,) = spots(Residual(), "before_relu", ["outer.1"], (16, 16))
    assert (made.side, made.channels) == ("out", tuple(range(6)))


@pytest.mark.parametrize(
    ("maps", "place"), [("read", "outer.1"), ("read", "outre"), ("before_relu", "aux"), ("read", "")]
)
def test_a_layer_that_has_no_such_map_is_refused_with_those_that_do(maps: str, place: str) -> None:
    with pytest.raises(ConfigError, match=r"distill\.places holds .*no layer .*outer\.0"):
        named(Residual(), maps, [place])


def test_a_network_without_any_map_to_follow_is_refused_with_a_remedy() -> None:
    class Flat(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, CLASSES, 1)

        def forward(self, image: Tensor) -> Tensor:
            return self.head(self.normalise(image))

    with pytest.raises(ConfigError, match=r"distill=kd.*distill\.places"):
        named(Flat(), "read")


def test_no_layers_are_no_places() -> None:
    with pytest.raises(ConfigError, match=r"distill\.places is \[\].*distill\.places=null"):
        named(toy(Residual), "read", [])


def test_images_of_other_bands_change_no_place() -> None:
    net, ten = toy(Residual), for_bands(toy(Residual), [0.5] * 10, [0.2] * 10, (32, 32))
    assert named(ten, "read") == named(net, "read")


def test_the_network_is_as_it_was() -> None:
    net = toy(Plain).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    named(net, "read")
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
