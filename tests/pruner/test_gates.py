from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.graph.group import ChannelGroup, Member
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.pruner.gates import find_gates, scaled_norms
from tests.pruner.surgery import conv_of, group_of, network_of, traced, whole
from tests.toys import Bypass, Depthwise, Plain, Residual, toy

NORMS = (
    partial(nn.BatchNorm2d, affine=False),
    partial(nn.BatchNorm2d, track_running_stats=False),
    partial(nn.InstanceNorm2d, affine=True),
    nn.InstanceNorm2d,
)
"""Without a scale and a shift, without running statistics, or without either."""
IMAGE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def places(net: SegmentationNet, group: ChannelGroup, image: Tensor = IMAGE, variant: str = "gate"):
    """Layers with a gate: those that make the channels, those that pass them on."""
    with torch.no_grad():
        gates = find_gates(net, [group], image, variant)[group.name]
    return [{g.member.layer for g in gates if g.is_passing is passing} for passing in (False, True)]


def test_a_gate_is_behind_the_norm_of_its_convolution():
    assert places(toy(Plain), group_of(traced(Plain), "first.0")) == [{"first.1"}, set()]


def test_without_a_norm_the_gate_is_behind_the_convolution():
    assert places(toy(Plain), group_of(traced(Plain), "bare")) == [{"bare"}, set()]


def test_every_branch_of_a_residual_stream_has_one_gate():
    group = group_of(traced(Residual), "stem.0")
    assert places(toy(Residual), group) == [{"stem.1", "outer.1", "bare"}, set()]


def test_the_norm_behind_a_depthwise_convolution_only_passes_on():
    net, group = toy(Depthwise), group_of(traced(Depthwise), "expand.0")
    assert places(net, group) == [{"expand.1"}, {"depthwise.1"}]
    assert places(net, group, variant="gamma") == [{"expand.1"}, set()]


def test_a_depthwise_convolution_with_a_bias_adds_it():
    net = toy(Depthwise)
    net.get_submodule("depthwise").register_module("0", nn.Conv2d(8, 8, 3, padding=1, groups=8))
    group = group_of(trace(net), "expand.0")
    assert places(net, group) == [{"expand.1"}, {"depthwise.0", "depthwise.1"}]


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_without_scale_or_running_statistics_has_the_gate_too(norm):
    net = network_of(nn.Conv2d(3, 2, 1), norm(2))
    assert places(net, whole(2, "0", "1")) == [{"1"}, set()]


def test_a_norm_without_running_statistics_passes_nothing_on():
    net = toy(Depthwise)
    net.get_submodule("depthwise").register_module("1", nn.BatchNorm2d(8, track_running_stats=False))
    group = group_of(trace(net), "expand.0")
    for variant in ("gate", "gamma"):
        assert places(net, group, variant=variant) == [{"expand.1", "depthwise.1"}, set()]


@pytest.mark.parametrize("norm", NORMS)
def test_norms_without_scale_have_one_for_a_while(norm):
    net = network_of(nn.Conv2d(3, 2, 1), norm(2)).double()
    before, names = net(IMAGE.double()), dict(net.named_parameters()).keys()
    with scaled_norms(net):
        assert torch.equal(net(IMAGE.double()), before)
        assert {"1.weight", "1.bias"} <= dict(net.named_parameters()).keys()
    assert dict(net.named_parameters()).keys() == names


def test_a_convolution_that_two_norms_read_keeps_its_own_gate():
    class Fork(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.left, self.right = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)

        def forward(self, image: Tensor) -> Tensor:
            x = self.conv(image)
            return self.left(x) + F.relu(self.right(x))

    assert places(Fork().eval(), whole(2, "conv", "left", "right")) == [{"conv"}, {"left", "right"}]


def test_a_convolution_that_its_norm_and_another_one_read_keeps_its_own_gate():
    net, groups = toy(Bypass).requires_grad_(False), traced(Bypass)
    group = group_of(groups, "stem")
    assert places(net, group) == [{"stem"}, {"norm"}]
    # the other reader is itself a maker, of the channels of another group
    with torch.no_grad():
        gates = find_gates(net, groups, IMAGE, "gate")[group.name]
    assert [gate.member.layer for gate in gates] == ["stem", "norm"]


def test_convolutions_keep_their_gates_if_one_of_them_is_also_read_past_their_shared_norm():
    class Shared(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.norm = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)

        def forward(self, image: Tensor) -> Tensor:
            left = self.left(image)
            return self.norm(left) + self.norm(self.right(image)) + left

    assert places(Shared().eval(), whole(2, "left", "right", "norm")) == [{"left", "right"}, {"norm"}]


def test_convolutions_that_share_a_norm_share_its_gate():
    class Shared(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.norm = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)

        def forward(self, image: Tensor) -> Tensor:
            return self.norm(self.left(image)) + self.norm(self.right(image))

    group = whole(2, "left", "right", "norm")
    with torch.no_grad():
        gates = find_gates(Shared().eval(), [group], IMAGE, "gate")["left"]
    assert [gate.member.layer for gate in gates] == ["norm"]


def test_the_derivative_of_a_convolution_counts_weight_and_bias():
    # filters (1, 2), (3, 0), biases .5; gradients 10 and 100 per weight, 1 per bias
    net = network_of(conv_of([[1.0, 2.0], [3.0, 0.0]], bias=0.5))
    layer = net.get_submodule("0")
    gate = find_gates(net, [whole(2, "0")], torch.rand(1, 2, 4, 4), "gate")["0"][0]
    gradient = {
        layer.weight: torch.tensor([[10.0, 10.0], [100.0, 100.0]])[:, :, None, None],
        layer.bias: torch.ones(2),
    }
    assert set(gate.parameters()) == {layer.weight, layer.bias}
    assert gate.derivative(gradient, "gate").tolist() == [30.5, 300.5]


@pytest.mark.parametrize(("variant", "of_norm"), [("gate", 20.5), ("gamma", 20.0)])
def test_gamma_leaves_out_the_shift_of_a_norm_and_no_bias_of_a_convolution(variant, of_norm):
    # weight or scale 2 with gradient 10, bias or shift .5 with gradient 1
    bare, behind = conv_of([[2.0]], bias=0.5), nn.BatchNorm2d(1)
    nn.init.constant_(behind.weight, 2.0)
    nn.init.constant_(behind.bias, 0.5)
    net = network_of(bare, nn.ReLU(), conv_of([[1.0]]), behind)
    image = torch.rand(1, 1, 4, 4)
    gates = find_gates(net, [whole(1, "0"), whole(1, "2", "3")], image, variant)
    for name, layer, expected in (("0", bare, 20.5), ("2", behind, of_norm)):
        gradient = {layer.weight: torch.full_like(layer.weight, 10.0), layer.bias: torch.ones(1)}
        assert gates[name][0].derivative(gradient, variant).tolist() == [expected]


def test_a_passing_norm_counts_what_it_gives_for_zeros():
    # scale 2, mean 3, variance 4 - eps, shift 5: 5 - 2 * 3 / 2 = 2; gradient of the shift 7
    net = network_of(conv_of([[1.0]]), nn.ReLU(), nn.BatchNorm2d(1))
    norm = net.get_submodule("2")
    for tensor, value in (
        (norm.weight, 2.0),
        (norm.bias, 5.0),
        (norm.running_mean, 3.0),
        (norm.running_var, 4 - norm.eps),
    ):
        tensor.data.fill_(value)
    gate = find_gates(net, [whole(1, "0", "2")], torch.rand(1, 1, 4, 4), "gate")["0"][1]
    assert gate.parameters() == [norm.bias]
    assert gate.derivative({norm.bias: torch.tensor([7.0])}, "gate").tolist() == pytest.approx([14.0])


def test_no_hook_stays():
    net = toy(Plain)
    places(net, group_of(traced(Plain), "first.0"))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_reader_has_no_gate():
    index = torch.arange(2)
    reader = Member(layer="1", axis="in", own=index, root=index)
    maker = Member(layer="0", axis="out", own=index, root=index)
    net = network_of(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1, groups=2))
    group = ChannelGroup(name="0", size=2, members=(maker, reader))
    assert places(net, group) == [{"0"}, set()]
