import pytest
import torch
from torch import Tensor, nn

from segprune.budget.simulate import CostSimulator
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.measure.cost import cost
from segprune.model.contract import SegmentationNet
from tests.toys import TOYS, Plain, toy


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


@pytest.mark.parametrize("kind", TOYS)
def test_simulated_costs_equal_those_of_the_cut_network(kind: type[SegmentationNet]) -> None:
    net = toy(kind)
    groups = trace(net)
    plan = {group.name: tuple(range(0, group.size, 3))[: group.size - 1] for group in groups}
    simulator, counted = CostSimulator(net, groups, (48, 64)), cost(cut(net, plan), (48, 64))
    assert simulator.cost(plan, "macs") == counted.macs
    assert simulator.cost(plan, "params") == counted.params


def test_the_network_is_left_as_it_was() -> None:
    net = toy(Plain).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    CostSimulator(net, trace(net), (32, 32))
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
