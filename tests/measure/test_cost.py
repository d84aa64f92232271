import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segprune.measure.cost import MACS_RULE, Cost, conv_inputs, cost, file_size_bytes, idle_parts
from segprune.measure.itemise import itemise
from segprune.model.contract import SegmentationNet
from tests.odd_nets import DeadStages


class Holding(SegmentationNet):
    """A network that is one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(image)


@pytest.mark.parametrize(
    ("layer", "params", "macs"),
    [
        # positions of the output * kernel * C_in / groups * C_out; a bias costs parameters and no MACs
        pytest.param(nn.Conv2d(3, 8, 3, padding=1), 3 * 8 * 9 + 8, 8 * 12 * 9 * 3 * 8, id="conv"),
        pytest.param(nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=False), 6 * 9, 96 * 9 * 6, id="depthwise"),
        pytest.param(
            nn.Conv2d(3, 4, 3, padding=2, dilation=2, bias=False),
            4 * 27,
            96 * 27 * 4,
            id="dilated keeps 8x12",
        ),
        pytest.param(
            nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), 4 * 27, 4 * 6 * 27 * 4, id="strided"
        ),
        pytest.param(nn.Conv2d(3, 4, 3, padding="same", bias=False), 4 * 27, 96 * 27 * 4, id="padding same"),
        # transposed: every input position meets the whole kernel
        pytest.param(nn.ConvTranspose2d(3, 5, 2, stride=2), 3 * 5 * 4 + 5, 96 * 4 * 3 * 5, id="transposed"),
        pytest.param(
            nn.ConvTranspose2d(3, 6, 4, stride=2, padding=1, groups=3, bias=False),
            3 * 2 * 16,
            96 * 16 * 3 * 2,
            id="transposed, grouped",
        ),
        # a linear layer over the last axis, W = 12, for 3 * 8 rows
        pytest.param(nn.Linear(12, 7), 12 * 7 + 7, 24 * 12 * 7, id="linear"),
        pytest.param(nn.Sequential(nn.Flatten(), nn.Linear(288, 2)), 578, 288 * 2, id="linear, flat"),
        pytest.param(nn.BatchNorm2d(3), 6, 0, id="norm"),
        pytest.param(
            nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Upsample(size=(8, 12), mode="bilinear")),
            0,
            0,
            id="activation, pooling, interpolation",
        ),
    ],
)
def test_counts_of_one_layer_worked_by_hand(layer: nn.Module, params: int, macs: int) -> None:
    assert cost(Holding(layer), (8, 12)) == Cost(params=params, macs=macs)


class Products(SegmentationNet):
    """Matrix products of (1, 3, H, W) with itself, batched, broadcast and in attention."""

    def forward(self, image: Tensor) -> Tensor:
        square = image @ image.transpose(-1, -2)  # (1, 3, H, H), H*H*W each
        wide = square[0, 0] @ square  # (H, H) x (1, 3, H, H), H*H*H each
        flat = torch.bmm(wide[0], wide[0])  # (3, H, H), H*H*H each
        return F.scaled_dot_product_attention(flat, flat, flat)  # H*H*(H + H) each


def test_matrix_products_and_attention_worked_by_hand() -> None:
    height, width = 4, 5
    assert cost(Products(), (height, width)).macs == 3 * (4 * 4 * 5 + 4**3 + 4**3 + 2 * 4**3)


class Toy(SegmentationNet):
    """What segmentation networks are made of; pools with indices and has a head for training only."""

    training_only = ("aux",)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6(inplace=True)
        )
        self.deep = nn.Conv2d(8, 8, 3, padding=3, dilation=3, groups=8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.head = nn.Conv2d(9, 4, 1)
        self.aux = nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(self.normalise(image))
        pooled, indices = F.max_pool2d(x, 2, 2, return_indices=True)
        x = F.max_unpool2d(pooled, indices, 2, 2, output_size=list(x.shape[-2:]))
        x = F.silu(self.deep(x)) * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        x = F.interpolate(self.up(x), size=image.shape[-2:], mode="bilinear", align_corners=False)
        return self.head(torch.cat([x, image], dim=1))

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        return self(image), self.aux(self.stem(self.normalise(image)))


@pytest.mark.parametrize("size_hw", [(16, 24), (17, 30)])
def test_macs_agree_with_another_counter(size_hw: tuple[int, int]) -> None:
    net = Toy().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, *size_hw))
    assert 2 * cost(net, size_hw).macs == counter.get_total_flops() > 0


def test_heads_for_training_are_not_counted() -> None:
    net = Toy()
    total = sum(p.numel() for p in net.parameters())
    assert cost(net, (16, 16)).params == total - (8 * 4 + 4)


def test_a_shared_parameter_is_counted_once() -> None:
    layer = nn.Conv2d(3, 3, 1, bias=False)
    assert cost(Holding(nn.Sequential(layer, layer)), (2, 2)) == Cost(params=9, macs=2 * 4 * 9)


def test_the_network_is_left_as_it_was() -> None:
    net = Toy()
    net.deep.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    cost(net, (16, 16))
    assert net.training
    assert not net.deep.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_failing_forward_leaves_no_hooks() -> None:
    net = Holding(nn.Conv2d(4, 4, 1))
    with pytest.raises(RuntimeError, match="expected input"):
        cost(net, (4, 4))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


class Triangle(SegmentationNet):
    def forward(self, image: Tensor) -> Tensor:
        return torch.tril(image)


def test_an_operation_of_unknown_cost_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert cost(Triangle(), (4, 4)).macs == 0
    assert "Triangle: not in the MACs count: aten::tril" in caplog.text


def test_the_log_is_silent_about_what_is_free(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        cost(Toy(), (16, 16))
    assert caplog.text == ""


def test_the_rule_says_what_is_and_is_not_counted() -> None:
    assert "multiply-adds" in MACS_RULE
    assert "not counted" in MACS_RULE


def test_the_file_holds_weights_and_buffers_but_no_training_only_head(tmp_path: Path) -> None:
    class Headed(Holding):
        training_only = ("aux",)

        def __init__(self) -> None:
            super().__init__(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
            self.aux = nn.Conv2d(3, 500, 3)
            self.auxiliary = nn.Conv2d(1, 1, 1)  # a longer name is another submodule

    net = Headed().to(memory_format=torch.channels_last)
    kept = {key: value.contiguous() for key, value in net.state_dict().items() if not key.startswith("aux.")}
    save_file(kept, tmp_path / "net.safetensors")
    size = (tmp_path / "net.safetensors").stat().st_size
    assert file_size_bytes(net) == size
    # float32: 3 * 8 * 9 + 8, then 4 * 8 of the norm, then 2; int64: its counter. The rest is the header.
    tensors = 4 * (216 + 8 + 32 + 2) + 8
    assert tensors < size < tensors + 1000


def test_idle_parts_are_named_as_a_whole_and_without_what_training_uses() -> None:
    class Idle(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.stages = nn.ModuleDict(
                {"used": nn.Conv2d(4, 4, 1), "deep": nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))}
            )
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, image: Tensor) -> Tensor:
            return self.stages["used"](super().forward(image))

    net = Idle()
    assert idle_parts(net, itemise(net, (16, 16))) == ("scale", "stages.deep")


def test_a_network_without_its_idle_parts_costs_the_same() -> None:
    net = DeadStages()
    whole = cost(net, (16, 16))
    del net.encoder[2:]
    assert cost(net, (16, 16)) == whole
    assert whole.params == sum(parameter.numel() for parameter in net.parameters())


def test_only_convolutions_that_the_logits_need_have_input_widths() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1, groups=8), nn.Conv2d(8, 5, 1)
    )
    net = Holding(layers)
    net.unused = nn.Conv2d(12, 4, 1)
    assert conv_inputs(net, itemise(net, (8, 12))) == (8, 8)


def test_convolutions_that_read_the_image_are_known_by_the_trace_not_by_their_width() -> None:
    class Reading(SegmentationNet):
        """Two layers read an image of 4 bands, one of them in pixels of 2x2; others have 3 and 9 inputs."""

        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.zeros(1, 4, 1, 1)
            self.last = nn.Conv2d(9, 2, 1)
            self.stem = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))
            self.inner = nn.Conv2d(3, 3, 1)
            self.shuffled = nn.Sequential(
                nn.PixelUnshuffle(2), nn.Conv2d(16, 2, 1), nn.Upsample(scale_factor=2)
            )

        def forward(self, image: Tensor) -> Tensor:
            image = image / 2 + 1
            return self.last(torch.cat([self.inner(self.stem(image)), self.shuffled(image), image], 1))

    net = Reading()
    assert conv_inputs(net, itemise(net, (8, 12))) == (9, 3)
