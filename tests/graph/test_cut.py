import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from segprune.errors import BudgetError, CheckpointError
from segprune.graph.cut import cut, fit_shapes, mask_error
from segprune.graph.group import PrunePlan
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, TOYS, Plain, Residual, conv_bn, toy


def random_plan(net: SegmentationNet, fraction: float, seed: int = 0) -> PrunePlan:
    generator = torch.Generator().manual_seed(seed)
    return {
        group.name: tuple(sorted(torch.randperm(group.size, generator=generator)[:count].tolist()))
        for group in trace(net)
        if (count := min(int(fraction * group.size), group.size - 1))
    }


@pytest.mark.parametrize("kind", TOYS)
@pytest.mark.parametrize("fraction", [0.3, 0.7])
def test_a_cut_network_equals_the_masked_one(kind: type[SegmentationNet], fraction: float) -> None:
    net = toy(kind)
    plan = random_plan(net, fraction)
    assert mask_error(net, cut(net, plan), trace(net), plan) < 1e-13


class Odd(SegmentationNet):
    """A norm without a scale, slopes for one and for all channels, and a depthwise transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6, affine=False)
        self.slopes, self.second, self.slope = nn.PReLU(6), conv_bn(6, 5, stride=2), nn.PReLU()
        self.up = nn.ConvTranspose2d(5, 5, 4, 2, 1, groups=5)
        self.head = nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.slopes(self.norm(self.first(self.normalise(image))))
        return self.head(self.up(self.slope(self.second(x))))


def test_the_proof_holds_for_layers_that_zero_weights_do_not_silence() -> None:
    net = toy(Odd)
    groups = trace(net)
    assert {group.name: group.size for group in groups} == {"first": 6, "second.0": 5}
    assert "slope" not in {member.layer for group in groups for member in group.members}
    for plan in ({"first": (1, 2)}, {"second.0": (0, 4)}, {"first": (0, 3, 4), "second.0": (1, 2, 3)}):
        assert mask_error(net, cut(net, plan), groups, plan) < 1e-13
    assert mask_error(net, cut(net, {"first": (1,)}), groups, {"first": (2,)}) > 1e-3
    assert mask_error(net, cut(net, {"second.0": (1,)}), groups, {"second.0": (2,)}) > 1e-3


class Largest(Plain):
    """Of two channels the larger one goes on, so that both come to one place."""

    def __init__(self) -> None:
        super().__init__()
        self.bare, self.norm = nn.Conv2d(5, 12, 1), nn.BatchNorm2d(6)
        self.head = nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.bare(torch.relu(self.second(torch.relu(self.first(self.normalise(image))))))
        n, channels, h, w = x.shape
        return self.head(self.norm(x.view(n, channels // 2, 2, h, w).amax(2)))


@pytest.mark.parametrize("count", range(1, 6))
def test_places_where_two_channels_come_count_once(count: int) -> None:
    net = toy(Largest)
    groups, plan = trace(net), {"bare": tuple(range(2 * count))}
    small = cut(net, plan)
    assert mask_error(net, small, groups, plan) < 1e-13
    assert [layer.in_channels for layer in convolutions(small)] == [3, 6, 5, 6 - count]
    assert small.norm.num_features == 6 - count


def test_the_proof_sees_a_wrong_channel() -> None:
    net = toy(Residual)
    groups = trace(net)
    wrong = cut(net, {"stem.0": (0, 1)})
    assert mask_error(net, wrong, groups, {"stem.0": (0, 2)}) > 1e-3


def test_the_proof_sees_a_wrong_index_map() -> None:
    net = toy(Plain)
    groups = tuple(
        replace(group, members=tuple(replace(m, own=m.own.flip(0)) for m in group.members))
        for group in trace(net)
    )
    assert mask_error(net, cut(net, {"first.0": (0,)}), groups, {"first.0": (0,)}) > 1e-3


def test_an_empty_plan_changes_no_bit() -> None:
    net = toy(Residual)
    same = cut(net, {})
    assert same is not net
    assert all(
        torch.equal(a, b) for a, b in zip(net.state_dict().values(), same.state_dict().values(), strict=True)
    )


def test_cutting_twice_equals_cutting_once() -> None:
    net = toy(Plain)
    once = cut(net, {"first.0": (0, 3), "second.0": (1,)})
    twice = cut(cut(net, {"first.0": (0,)}), {"first.0": (2,), "second.0": (1,)})
    assert all(
        torch.equal(a, b)
        for a, b in zip(once.state_dict().values(), twice.state_dict().values(), strict=True)
    )


def test_flags_and_precision_survive_and_the_original_is_untouched() -> None:
    net = toy(Plain).double().train()
    net.first[0].weight.requires_grad_(False)
    net.second.eval()
    before = copy.deepcopy(net.state_dict())
    small = cut(net, {"first.0": (0,)})
    assert not small.first[0].weight.requires_grad
    assert small.head.weight.requires_grad
    assert (small.training, small.second.training, small.first.training) == (True, False, True)
    assert small.head.weight.dtype == torch.float64
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_cut_network_trains_on() -> None:
    net = toy(Residual)
    small = cut(net, random_plan(net, 0.5)).train()
    small(torch.rand(2, 3, 16, 16)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


def test_foreign_and_emptying_plans_are_refused() -> None:
    net = toy(Plain)
    with pytest.raises(BudgetError, match="'nowhere', which is not a traced layer of Plain"):
        cut(net, {"nowhere": (0,)})
    with pytest.raises(
        BudgetError, match=r"removes 4 of the 4 channels of 'bare', which leaves a layer without"
    ):
        cut(net, {"bare": (0, 1, 2, 3)})


@pytest.mark.parametrize("kind", [*TOYS, Odd])
def test_shapes_fitted_to_a_state_dict_give_the_cut_network_bit_for_bit(kind: type[SegmentationNet]) -> None:
    net = toy(kind)
    small = cut(net, random_plan(net, 0.4))  # inputs and outputs of no layer are as many
    rebuilt = kind()
    fit_shapes(rebuilt, small.state_dict())
    rebuilt.load_state_dict(small.state_dict(), strict=True)
    image = torch.rand(2, 3, 24, 24)
    assert torch.equal(rebuilt.eval()(image), small.eval()(image))
    slopes = [module.num_parameters for module in rebuilt.modules() if isinstance(module, nn.PReLU)]
    assert slopes == [module.num_parameters for module in small.modules() if isinstance(module, nn.PReLU)]
    groups = [(module.in_channels, module.out_channels, module.groups) for module in convolutions(rebuilt)]
    assert groups == [
        (module.in_channels, module.out_channels, module.groups) for module in convolutions(small)
    ]


def convolutions(net: SegmentationNet) -> list[torch.nn.Conv2d]:
    return [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]


def test_a_foreign_state_dict_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"holds no 'bare.weight'; it belongs to another architecture"):
        fit_shapes(Plain(), {k: v for k, v in Plain().state_dict().items() if not k.startswith("bare")})
