import weakref

import torch
import torch.nn.functional as F
from torch import Tensor

from segprune.graph.program import hashable, program
from segprune.model.contract import SegmentationNet
from tests.toys import Plain

IMAGE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def steps(net: SegmentationNet) -> object:
    return program(net, IMAGE)


class Changed(Plain):
    def __init__(self, change: object) -> None:
        super().__init__()
        self.change = change

    def forward(self, image: Tensor) -> Tensor:
        x = self.second(F.relu(self.first(self.normalise(image))))
        return self.head(F.relu(self.bare(self.change(x))))  # type: ignore[operator]


def test_forwards_are_equal_if_they_do_the_same_on_the_same_tensors() -> None:
    kept: list[object] = []
    for change in (
        lambda x: x,
        lambda x: x[:, :5],
        lambda x: x[:, [0, 1, 2, 3, 4]],
        lambda x: x[:, torch.tensor([1, 0, 2, 3, 4])],
        lambda x: x.roll(1, 1),
        lambda x: x.roll(2, 1),
        lambda x: x + x.relu(),
        lambda x: x.relu() + x,
        lambda x: x.mH.mH,
        lambda x: x.mT.mT,
        lambda x: F.leaky_relu(x, 0.1),
        lambda x: F.leaky_relu(x, negative_slope=0.2),
    ):
        first = steps(Changed(change))
        assert first == steps(Changed(change))
        assert first not in kept
        kept.append(first)


def test_the_network_runs_as_in_evaluation_and_stays_as_it_was() -> None:
    net = Plain().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert steps(net) == steps(Plain().eval())
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_values_are_equal_by_content_and_other_things_by_identity() -> None:
    assert hashable({"a": [1, (2, None)]}) == hashable({"a": (1, [2, None])})
    assert hashable(torch.ones(2)) == hashable(torch.ones(2)) != hashable(torch.ones(2).int())
    thing: set[int] = set()
    assert hashable(thing) == hashable(thing) != hashable(set())
    assert hash(hashable(thing)) == hash(hashable(thing))
    proxy = weakref.proxy(Plain)  # of a kind that says it can be hashed, and cannot
    assert hash(hashable(proxy)) == hash(hashable(proxy))
