import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.budget import dependence
from segprune.budget.dependence import Dependent, dependents
from segprune.errors import ConfigError
from segprune.graph.cut import cut
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.trace import trace
from segprune.measure.itemise import Item, itemise
from segprune.model.contract import SegmentationNet
from tests.odd_nets import ODD_NETS, NonLocal
from tests.toys import CLASSES, TOYS, Concat, Plain, SqueezeExcite, conv_bn, toy

SIZE = (16, 24)


def of(net: SegmentationNet, groups: tuple[ChannelGroup, ...] | None = None) -> tuple[Dependent, ...]:
    return dependents(net, trace(net) if groups is None else groups, SIZE, itemise(net, SIZE))


def drawn_plan(groups: tuple[ChannelGroup, ...], seed: int) -> PrunePlan:
    draw = random.Random(seed)
    return {
        g.name: tuple(sorted(draw.sample(range(g.size), draw.randrange(1, (g.size + 1) // 2))))
        for g in groups
    }


def test_sizes_after_a_cut_worked_by_hand() -> None:
    found = Dependent(
        unit="macs",
        item=Item(module="", name="matmul", sizes=(7, 6, 6)),
        shares=({}, {"a": np.array([1, 0, 1])}, {"a": np.array([2, 2, 1]), "b": np.array([1])}),
    )
    assert found.sizes({"a": (0, 1), "c": (3,)}) == (7, 5, 2)
    assert found.sizes({"a": (2,), "b": (0,)}) == (7, 5, 4)


class SharedStream(SegmentationNet):
    """A group whose first channels one layer makes and whose last ones another; a product reads the first ones."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.both = conv_bn(3, 4), conv_bn(3, 3), conv_bn(3, 7)
        self.head = nn.Conv2d(7, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        image = self.normalise(image)
        left = F.relu(self.left(image))
        alike = torch.einsum("nchw, nkhw -> nck", left, left)
        left = left + torch.einsum("nck, nkhw -> nchw", alike, left)
        return self.head(F.relu(torch.cat([left, self.right(image)], 1) + self.both(image)))


@pytest.mark.parametrize("kind", [*TOYS, SqueezeExcite, *ODD_NETS, SharedStream])
def test_every_size_is_that_of_the_network_really_cut(kind: type[SegmentationNet]) -> None:
    net = toy(kind)
    groups = trace(net)
    found = of(net, groups)
    for seed in range(2):
        plan = drawn_plan(groups, seed)
        items = itemise(cut(net, plan), SIZE)
        assert [item.sizes(plan) for item in found] == [item.sizes for item in (*items.params, *items.macs)]


def test_attention_products_worked_by_hand() -> None:
    # positions: 8 x 12 = 96; query and key of 4 channels, value of 4; without channel 1 of the query, 3
    products = [item for item in of(toy(NonLocal)) if item.item.name == "matmul"]
    assert [item.item.sizes for item in products] == [(1, 96, 96, 4), (1, 4, 96, 96)]
    assert [item.sizes({"query": (1,)}) for item in products] == [(1, 96, 96, 3), (1, 3, 96, 96)]
    assert [item.sizes({"stem.0": (1, 2)}) for item in products] == [item.item.sizes for item in products]


@pytest.mark.parametrize(("kind", "cuts"), [(Plain, 1), (Concat, 1), (NonLocal, 4)])
def test_only_what_the_layers_do_not_tell_is_measured(
    kind: type[SegmentationNet], cuts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(dependence, "cut", lambda net, plan: made.append(plan) or cut(net, plan))
    of(toy(kind))
    assert len(made) == cuts


def test_a_network_without_groups_depends_on_nothing() -> None:
    assert all(not any(item.shares) for item in of(toy(Plain), ()))


class Stepwise(Plain):
    """Multiplies by a matrix that is narrower only when two channels are gone."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        rows = x.flatten(2)
        x = x + 0 * (rows @ rows.new_ones(rows.shape[2], 1 + x.shape[1] // 2)).sum()
        return self.head(F.relu(self.bare(x)))


class Branching(Plain):
    """Multiplies once more when it is narrow."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        if x.shape[1] < 5:
            x = x @ torch.eye(x.shape[3], dtype=x.dtype)
        return self.head(F.relu(self.bare(x)))


class Whole(Plain):
    """Runs on the size of the trace at every width, on others only while it is whole."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        if image.shape[2:] != (64, 64):
            x = x.view(len(x), 5, *x.shape[2:])
        return self.head(F.relu(self.bare(x)))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Stepwise, r"matmul of Stepwise costs macs that do not shrink in proportion to the channels cut"),
        (
            Branching,
            r"Branching runs other operations when channels are cut \(matmul in place of bare\.convolution\)",
        ),
        (
            Whole,
            r"Whole cannot run on images of \[16, 24\] px \(dataset\.size_hw\) when channels of first\.0, second",
        ),
    ],
)
def test_a_cost_that_cannot_be_known_before_the_cut_is_refused(
    kind: type[SegmentationNet], reason: str
) -> None:
    with pytest.raises(ConfigError, match=rf"model: {reason}.*leave prune out of stages"):
        of(toy(kind))


def test_memory_that_runs_out_is_no_fault_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> SegmentationNet:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(dependence, "cut", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        of(toy(Plain))
