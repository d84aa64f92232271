import pytest
import torch
from torch import Tensor, nn

from segprune.errors import BudgetError
from segprune.graph.build import View, build
from segprune.graph.cut import cut, take
from segprune.graph.group import PrunePlan
from segprune.graph.grouping import grouped
from segprune.graph.proof import trial_plan
from segprune.graph.undo import undone
from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, TOYS, InGroups, toy


class Gated(SegmentationNet):
    """Two halves of the channels, one of which gates the other."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        value, gate = self.both(self.normalise(image)).chunk(2, dim=1)
        return self.head(value * gate.sigmoid())


KINDS = (*TOYS, InGroups, Gated)


def shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_after_the_block_the_network_is_as_before_to_the_bit(kind: type[SegmentationNet]) -> None:
    plan = trial_plan(grouped(toy(kind)).groups)
    with build(toy(kind), View(size_hw=(64, 64))) as (twin, graph):
        before, said = {name: tensor.clone() for name, tensor in twin.state_dict().items()}, repr(twin)
        with undone(graph):
            take(twin, graph, plan)
            assert shapes(twin) == shapes(cut(toy(kind), plan))
            assert repr(twin) != said
        assert repr(twin) == said
        assert all(torch.equal(tensor, before[name]) for name, tensor in twin.state_dict().items())
        assert shapes(twin) == {name: tuple(tensor.shape) for name, tensor in before.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_cut_before_does_not_matter(kind: type[SegmentationNet]) -> None:
    net, image = toy(kind), torch.rand(1, 3, 64, 64)
    whole = trial_plan(grouped(net).groups)
    plans: list[PrunePlan] = [{name: whole[name]} for name in whole]
    with build(net, View(size_hw=(64, 64))) as (twin, graph), torch.no_grad():
        for plan in [whole, *plans, whole]:
            with undone(graph):
                take(twin, graph, plan)
                assert torch.equal(twin(image), cut(net, plan).eval()(image))


def test_a_cut_that_fails_half_way_is_taken_back_too() -> None:
    net = toy(Gated)
    with build(net, View(size_hw=(64, 64))) as (twin, graph):
        with pytest.raises(BudgetError, match="'nowhere'"), undone(graph):
            take(twin, graph, {"both": (0, 6), "nowhere": (0,)})
        assert twin.both.out_channels == len(twin.both.weight) == 12
        with torch.no_grad():
            assert torch.equal(twin(torch.ones(1, 3, 64, 64)), net.eval()(torch.ones(1, 3, 64, 64)))
