import random
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segprune.budget import dependence, simulate
from segprune.budget.simulate import CostSimulator
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.graph.units import first_of, together
from segprune.measure.cost import cost
from segprune.measure.itemise import Items, itemise
from segprune.model.contract import SegmentationNet
from segprune.model.lite0_fpn import lite0_fpn
from segprune.model.simple_segnet import simple_segnet
from segprune.model.unet import unet
from tests.odd_nets import ODD_NETS, DeadStages, DroppedHead
from tests.toys import TOYS, InGroups, Plain, SqueezeExcite, conv_bn, toy


class TwoConvs(SegmentationNet):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.first(image)))
        return logits


def test_costs_by_hand() -> None:
    # 10 x 8 positions. first: 3*4*9 = 108 weights, 8640 MACs; norm: 8; head: 4*2 + 2 = 10, 640 MACs
    net = TwoConvs()
    simulator = CostSimulator(net, trace(net), (10, 8))
    assert simulator.cost({}, "params") == 108 + 8 + 10
    assert simulator.cost({}, "macs") == 8640 + 640
    # without channel 1: first 3*3*9 = 81, norm 6, head 3*2 + 2 = 8
    assert simulator.cost({"first": (1,)}, "params") == 81 + 6 + 8
    assert simulator.cost({"first": (1,)}, "macs") == 6480 + 480
    assert simulator.cost({"first": (1,)}, "channels") == 3


def test_networks_of_one_structure_are_counted_once_at_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = toy(Plain, seed=0), toy(Plain, seed=1)
    before = CostSimulator(first, trace(first), (8, 24))
    counted = list[tuple[int, int]]()

    def counting(net: SegmentationNet, size_hw: tuple[int, int]) -> Items:
        counted.append(size_hw)
        return itemise(net, size_hw)

    for module in (simulate, dependence):
        monkeypatch.setattr(module, "itemise", counting)
    again = CostSimulator(other, trace(other), (8, 24))
    assert again.net is other
    assert counted == []
    assert again.cost({"bare": (0,)}, "macs") == before.cost({"bare": (0,)}, "macs")
    larger = CostSimulator(other, trace(other), (16, 24))
    assert set(counted) == {(16, 24)}
    assert larger.cost({}, "macs") == 2 * again.cost({}, "macs")
    fewer = CostSimulator(other, trace(other)[:1], (8, 24))  # these groups, no others
    assert set(fewer.widths({})) == {"first.0"}
    assert fewer.cost({"bare": (0,)}, "macs") > again.cost({"bare": (0,)}, "macs")


class Slopes(SegmentationNet):
    """A slope per channel, one for all channels, a norm over channels and one in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.each, self.second, self.one = conv_bn(3, 6), nn.PReLU(6), conv_bn(6, 5), nn.PReLU()
        self.third, self.norm = nn.Conv2d(5, 8, 1), nn.GroupNorm(2, 8)
        self.over_all, self.head = nn.LayerNorm(8), nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.one(self.second(self.each(self.first(self.normalise(image)))))
        x = self.over_all(self.norm(self.third(x)).movedim(1, -1)).movedim(-1, 1)
        return self.head(x)


class Shared(SegmentationNet):
    """A convolution that runs twice, one in groups, and a norm without a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.bare, self.grouped = nn.BatchNorm2d(6, affine=False), nn.Conv2d(6, 4, 3, padding=1, groups=2)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.bare(self.twice(F.relu(self.stem(self.normalise(image))))))
        return self.head(F.relu(self.grouped(F.relu(self.twice(F.max_pool2d(x, 2))))))


def test_grouped_and_shared_convolutions_and_bare_norms_by_hand() -> None:
    net = Shared()
    simulator = CostSimulator(net, (), (8, 8))
    # 64 positions, 16 behind the pooling. stem: 3*6*9; twice: 6*6*9 at 64 + 16; grouped: 6*4*9 / 2; head: 4*2
    assert simulator.cost({}, "macs") == 162 * 64 + 324 * 80 + 108 * 16 + 8 * 16
    assert simulator.cost({}, "params") == (162 + 6) + (324 + 6) + (108 + 4) + (8 + 2)
    assert cost(net, (8, 8)).macs == simulator.cost({}, "macs")


@pytest.mark.parametrize("kind", [*TOYS, *ODD_NETS, Slopes, SqueezeExcite, InGroups])
def test_simulated_costs_equal_those_of_the_cut_network(kind: type[SegmentationNet]) -> None:
    net = toy(kind)
    groups = trace(net)
    plan = {group.name: together(group, first_of(group)[:-1:3].tolist()) for group in groups}
    simulator, counted = CostSimulator(net, groups, (48, 64)), cost(cut(net, plan), (48, 64))
    assert simulator.cost(plan, "macs") == counted.macs
    assert simulator.cost(plan, "params") == counted.params


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        partial(lite0_fpn, width=16, weights="none"),
        partial(unet, width=8, max_width=24, depth=4, convs_per_level=1, upsample="transposed"),
        partial(simple_segnet, width=8, max_width=24, depth=3, convs_per_level=2),
    ],
    ids=["lite0_fpn", "unet", "simple_segnet"],
)
def test_registered_networks_cost_what_was_simulated(build: Callable[..., SegmentationNet]) -> None:
    net, draw = build(num_classes=5).eval(), random.Random(0)
    groups = trace(net)
    plan = {g.name: tuple(sorted(draw.sample(range(g.size), draw.randrange(g.size // 2)))) for g in groups}
    simulator, counted = CostSimulator(net, groups, (75, 101)), cost(cut(net, plan), (75, 101))
    assert (simulator.cost(plan, "macs"), simulator.cost(plan, "params")) == (counted.macs, counted.params)
    assert simulator.idle == ()


@pytest.mark.parametrize(
    ("kind", "idle"), [(Plain, ()), (DeadStages, ("encoder.2", "encoder.3")), (DroppedHead, ("aux",))]
)
def test_what_costs_nothing_is_named(kind: type[SegmentationNet], idle: tuple[str, ...]) -> None:
    net = toy(kind)
    assert CostSimulator(net, trace(net), (16, 16)).idle == idle


def test_the_network_is_left_as_it_was() -> None:
    net = toy(Plain).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    CostSimulator(net, trace(net), (32, 32))
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("unit", ["channels", "macs", "params"])
def test_expected_cost_of_certain_channels_is_the_cost(kind: type[SegmentationNet], unit: str) -> None:
    net = toy(kind)
    groups = trace(net)
    simulator = CostSimulator(net, groups, (32, 48))
    plan = {group.name: tuple(range(0, group.size, 2)) for group in groups[::2]}
    keep = {name: torch.ones(group.size).double() for group in groups for name in [group.name]}
    for name, removed in plan.items():
        keep[name][list(removed)] = 0.0
    assert float(simulator.expected(keep, unit)) == simulator.cost(plan, unit)
    assert float(simulator.expected({}, unit)) == simulator.cost({}, unit)
    share = simulator.expected_share(keep, unit=unit)
    assert float(share) == pytest.approx(simulator.cost(plan, unit) / simulator.cost({}, unit))


def test_expected_macs_by_hand() -> None:
    # the example of DMCP's chain: 1x1 convolutions 3 -> C1 -> C2 -> 2 on one pixel, E[C1] = 2.21875 of 4 and
    # E[C2] = 1.875 of 4: 3 * 2.21875 + 2.21875 * 1.875 + 1.875 * 2
    class Chain(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, image: Tensor) -> Tensor:
            return self.head(F.relu(self.two(F.relu(self.one(self.normalise(image))))))

    net = Chain()
    simulator = CostSimulator(net, trace(net), (1, 1))
    assert simulator.cost({}, "macs") == 3 * 4 + 4 * 4 + 4 * 2 == 36
    one = torch.tensor([1.0, 0.75, 0.375, 0.09375], dtype=torch.float64, requires_grad=True)
    keep = {"one": one, "two": torch.tensor([1.0, 0.5, 0.25, 0.125], dtype=torch.float64)}
    expected = simulator.expected(keep, "macs")
    assert expected.item() == pytest.approx(14.56640625)
    expected.backward()
    assert one.grad is not None
    assert torch.allclose(one.grad, torch.full((4,), 3 + 1.875).double())
