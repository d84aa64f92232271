import copy

import pytest
import torch
from torch import nn

from segprune.graph.cut import cut
from segprune.graph.group import PrunePlan
from segprune.graph.pad import padded
from segprune.graph.trace import trace
from segprune.graph.units import first_of, together
from segprune.model.contract import SegmentationNet
from tests.toys import Concat, Depthwise, InGroups, Plain, Residual, SqueezeExcite, Upsampling, toy

IMAGE = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def random_plan(net: SegmentationNet, seed: int) -> PrunePlan:
    generator = torch.Generator().manual_seed(seed)
    return {
        group.name: tuple(sorted(torch.randperm(group.size, generator=generator)[: group.size // 2].tolist()))
        for group in trace(net)
    }


@pytest.mark.parametrize("multiple", [2, 4, 8])
@pytest.mark.parametrize("kind", [Plain, Residual, Concat, Depthwise, Upsampling, SqueezeExcite])
def test_wider_layers_predict_the_same(kind: type[SegmentationNet], multiple: int) -> None:
    dense = toy(kind).double()
    first = random_plan(dense, 1)
    once = cut(dense, first)
    second = random_plan(once, 2)
    small = cut(once, second)
    before = copy.deepcopy(small.state_dict())
    wide = padded(small, toy(kind, seed=3).double(), trace(dense), [first, second], multiple)
    with torch.no_grad():
        torch.testing.assert_close(wide(IMAGE.double()), small(IMAGE.double()), rtol=0, atol=1e-12)
    left, now = ({group.name: group.size for group in trace(net)} for net in (small, wide))
    for group in trace(dense):  # one channel alone is in no group any more
        wanted = -(-left.get(group.name, 1) // multiple) * multiple
        assert now.get(group.name, 1) == min(wanted, group.size)
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


def test_whole_units_come_back() -> None:
    dense = toy(InGroups).double()
    groups = trace(dense)
    plan = {group.name: together(group, first_of(group)[1:].tolist()) for group in groups}
    small = cut(dense, plan)
    wide = padded(small, dense, groups, [plan], 2)
    assert (wide.norm.num_groups, wide.normed.out_channels) == (2, 6)  # three channels are odd, six are not
    with torch.no_grad():
        torch.testing.assert_close(wide(IMAGE.double()), small(IMAGE.double()), rtol=0, atol=1e-12)


def test_channels_come_back_at_their_places_as_zeros() -> None:
    dense = toy(Plain)
    plan = {"first.0": (0, 2, 5)}  # 1, 3 and 4 of six are left: 0 comes back for a multiple of four
    wide = padded(cut(dense, plan), dense, trace(dense), [plan], 4)
    kept, made = dense.first[0].weight, wide.first[0].weight
    assert torch.equal(made[1:], kept[[1, 3, 4]])
    assert not made[0].any()
    assert not wide.second[0].weight[:, 0].any()
    assert torch.equal(wide.second[0].weight[:, 1:], dense.second[0].weight[:, [1, 3, 4]])
    assert torch.equal(wide.head.weight, dense.head.weight)


def test_what_is_a_multiple_already_stays_as_it_is() -> None:
    dense = toy(Residual)
    plan = {"stem.0": (1, 4)}
    small = cut(dense, plan)
    wide = padded(small, dense, trace(dense), [plan], 4)
    assert isinstance(wide.stem[0], nn.Conv2d)
    assert all(
        torch.equal(a, b)
        for a, b in zip(wide.state_dict().values(), small.state_dict().values(), strict=True)
    )
