import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.budget.allocate import Allocation, multiples, reach
from segprune.graph.cut import cut, mask_error
from segprune.graph.group import ChannelGroup
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, conv_bn, toy


def groups_of(**sizes: int) -> list[ChannelGroup]:
    return [ChannelGroup(name=name, size=size, members=()) for name, size in sizes.items()]


def channels_left(sizes: dict[str, int]):
    return lambda plan: sum(sizes.values()) - sum(len(removed) for removed in plan.values())


def test_tied_scores_still_remove_exactly_what_was_asked() -> None:
    # the case in which `score <= threshold` removes everything or nothing: all scores are equal
    sizes = {"a": 16, "b": 16}
    allocation = Allocation(groups_of(**sizes), {n: torch.ones(16) for n in sizes}, floor=0.1, round_to=1)
    for target in (31, 24, 9, 4):
        plan = reach([allocation], is_local=False, target=target, within=0, cost=channels_left(sizes))
        assert channels_left(sizes)(plan) == target


def test_global_ranking_takes_the_lowest_scores_of_all_groups() -> None:
    scores = {"a": torch.tensor([5.0, 1.0, 6.0]), "b": torch.tensor([2.0, 9.0, 3.0])}
    allocation = Allocation(groups_of(a=3, b=3), scores, floor=0.1, round_to=1)
    # in order: a1 (1), b0 (2), b2 (3), a0 (5), then a2 and b1, which the floor of one channel keeps
    assert allocation.plan(allocation.lowest(3)) == {"a": (1,), "b": (0, 2)}
    assert allocation.plan(allocation.lowest(6)) == {"a": (0, 1), "b": (0, 2)}


def test_ties_go_by_group_name_then_channel_whatever_the_order_of_the_groups() -> None:
    scores = {"a": torch.zeros(3), "b": torch.zeros(3)}
    plans = [
        (allocation := Allocation(groups, scores, floor=0, round_to=1)).plan(allocation.lowest(4))
        for groups in (groups_of(a=3, b=3), groups_of(b=3, a=3))
    ]
    assert dict(plans[0]) == dict(plans[1]) == {"a": (0, 1), "b": (0,)}


def test_local_takes_the_same_fraction_of_every_group() -> None:
    scores = {"a": torch.arange(10.0), "b": torch.arange(20.0) + 100}
    allocation = Allocation(groups_of(a=10, b=20), scores, floor=0.1, round_to=1)
    assert dict(allocation.local(0.3)) == {"a": 3, "b": 6}


def test_units_go_as_wholes_in_the_order_of_their_scores_and_widths_are_multiples_where_they_can_be() -> None:
    units = torch.tensor([0, 1, 2, 0, 1, 2])  # three units of two channels, far apart
    group = ChannelGroup(name="a", size=6, members=(), units=units)
    scores = {"a": torch.tensor([5.0, 1.0, 1.0])[units]}
    allocation = Allocation([group], scores, floor=0, round_to=1)
    assert allocation.allowed["a"].tolist() == [0, 2, 4]
    assert allocation.plan({"a": 2}) == {"a": (1, 4)}
    assert allocation.plan(allocation.lowest(3)) == {"a": (1, 4)}
    assert allocation.plan(allocation.deepest) == {"a": (1, 2, 4, 5)}
    wide = ChannelGroup(name="a", size=48, members=(), units=torch.arange(48) % 16)  # units of three
    aligned = Allocation([wide], {"a": torch.arange(16.0)[wide.units]}, floor=0.1, round_to=8)
    assert aligned.allowed["a"].tolist() == [0, 24]


class Beside(SegmentationNet):
    """Two layers side by side, added to a third: one group, of which two layers have a part each."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.third = conv_bn(3, 4), conv_bn(3, 3), conv_bn(3, 7)
        self.head = nn.Conv2d(7, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.normalise(image)
        return self.head(F.relu(torch.cat([self.left(x), self.right(x)], 1) + self.third(x)))


@pytest.mark.parametrize("order", [1, -1])
def test_the_best_channel_of_every_layer_stays_where_a_layer_has_only_a_part_of_a_group(order: int) -> None:
    net = toy(Beside)
    groups = trace(net)
    (name,) = (group.name for group in groups)
    scores = {name: torch.arange(7.0) if order > 0 else torch.arange(7.0).flip(0)}
    allocation = Allocation(groups, scores, floor=0, round_to=1)
    left, right = (3, 6) if order > 0 else (0, 4)  # the best of channels 0 to 3, and of 4 to 6
    removed = tuple(channel for channel in range(7) if channel not in (left, right))
    deepest = [allocation.deepest, allocation.local(1), allocation.lowest(7), allocation.below(9)]
    assert [allocation.plan(counts) for counts in deepest] == [{name: removed}] * 4
    # of the four that score below 4, one is the best of its layer
    assert allocation.plan(allocation.below(4)) == {name: (0, 1, 2) if order > 0 else (3, 5, 6)}
    assert mask_error(net, cut(net, {name: removed}), groups, {name: removed}) < 1e-12


def test_the_floor_keeps_the_best_channels_of_a_group() -> None:
    scores = {"a": torch.arange(10.0), "b": torch.arange(10.0) + 1000}
    allocation = Allocation(groups_of(a=10, b=10), scores, floor=0.2, round_to=1)
    assert allocation.plan(allocation.lowest(10)) == {"a": (0, 1, 2, 3, 4, 5, 6, 7)}


def test_kept_widths_are_multiples_of_round_to_or_whole() -> None:
    scores = {"a": torch.rand(50), "b": torch.rand(24), "narrow": torch.rand(5)}
    allocation = Allocation(groups_of(a=50, b=24, narrow=5), scores, floor=0, round_to=8)
    for depth in range(80):
        for name, removed in allocation.lowest(depth).items():
            kept = allocation.sizes[name] - removed
            assert kept == allocation.sizes[name] or kept % {"a": 8, "b": 4, "narrow": 1}[name] == 0
    # a step is at most a quarter of a group: 8 of 50, 4 of 24, 1 of 5
    assert allocation.deepest == {"a": 42, "b": 20, "narrow": 4}


def test_a_group_takes_the_largest_multiple_that_is_narrow_and_wide_enough() -> None:
    assert (multiples(8), multiples(12), multiples(1)) == ((8, 4, 2, 1), (12, 6, 3, 1), (1,))
    sizes = {"wide": 24, "high": 12, "one": 1}
    allocation = Allocation(
        groups_of(**sizes), {n: torch.ones(s) for n, s in sizes.items()}, floor=0.75, round_to=8
    )
    # of 24 at least 18 stay: 20 is the only multiple of 4; of 12 at least 9: 10 the only one of 2
    assert {name: allowed.tolist() for name, allowed in allocation.allowed.items()} == {
        "wide": [0, 4],
        "high": [0, 2],
        "one": [0],
    }


def test_widths_that_an_earlier_round_left_off_the_multiples_can_stay() -> None:
    scores, gone = {"a": torch.arange(16.0), "b": torch.arange(16.0)}, {"a": (0, 1, 2), "b": tuple(range(9))}
    allocation = Allocation(groups_of(a=16, b=16), scores, floor=0, round_to=8, gone=gone)
    # what is left of a: 13, 12, 8 or 4; of b: 7 or 4
    assert {name: allowed.tolist() for name, allowed in allocation.allowed.items()} == {
        "a": [3, 4, 8, 12],
        "b": [9, 12],
    }
    assert [allocation.most("a", wanted) for wanted in (0, 3, 7, 8, 16)] == [3, 3, 4, 8, 12]


def steps_of(sizes: dict[str, int]) -> list[Allocation]:
    scores = {name: torch.arange(float(size)) for name, size in sizes.items()}
    return [Allocation(groups_of(**sizes), scores, floor=0, round_to=step) for step in multiples(8)]


@pytest.mark.parametrize(
    ("target", "within", "kept"),
    [
        (72, 0, [24, 48]),  # a step of 8 is exact
        (73, 1, [24, 48]),  # and near enough here
        (76, 1, [24, 52]),  # 4 too many or too few: one group takes half of it, the wider one
        (74, 1, [24, 50]),
        (73, 0, [24, 49]),
        (8, 0, [4, 4]),  # less than two groups of 8 have: both take 4
        (1, 0, [1, 1]),  # more than can go: the deepest
    ],
)
def test_finer_steps_are_taken_only_where_they_are_needed(target: int, within: int, kept: list[int]) -> None:
    sizes = {"a": 32, "b": 64}
    plan = reach(steps_of(sizes), is_local=True, target=target, within=within, cost=channels_left(sizes))
    assert [size - len(plan.get(name, ())) for name, size in sizes.items()] == kept


def test_a_group_that_has_left_the_multiples_is_moved_before_another_one() -> None:
    # 32 of 64 are the closest in steps of 8; the 3 that are missing all stay in one group
    sizes = {"a": 32, "b": 32}
    plan = reach(steps_of(sizes), is_local=True, target=35, within=0, cost=channels_left(sizes))
    assert sorted(size - len(plan.get(name, ())) for name, size in sizes.items()) == [16, 19]


def test_deeper_never_costs_more() -> None:
    sizes = {"a": 13, "b": 29, "c": 8}
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.rand(size, generator=generator) for name, size in sizes.items()}
    allocation = Allocation(groups_of(**sizes), scores, floor=0.1, round_to=1)
    cost = channels_left(sizes)
    by_count = [cost(allocation.plan(allocation.lowest(depth))) for depth in range(51)]
    by_fraction = [cost(allocation.plan(allocation.local(depth / 100))) for depth in range(101)]
    assert by_count == sorted(by_count, reverse=True)
    assert by_fraction == sorted(by_fraction, reverse=True)


@pytest.mark.parametrize("is_local", [True, False])
def test_a_channel_count_is_met_exactly(is_local: bool) -> None:
    sizes = {"a": 7, "b": 11, "c": 3}
    scores = {name: torch.arange(float(size)) for name, size in sizes.items()}
    allocation = Allocation(groups_of(**sizes), scores, floor=0.1, round_to=1)
    for target in range(4, 22):
        plan = reach([allocation], is_local=is_local, target=target, within=0, cost=channels_left(sizes))
        assert channels_left(sizes)(plan) == target


def test_the_last_channels_come_from_all_groups_alike() -> None:
    # 25 of 80: groups of one size all go from 2 to 3 at the same fraction, so 5 channels are left to find
    sizes = dict.fromkeys("abcdefghij", 8)
    scores = {name: torch.arange(8.0) for name in sizes}
    allocation = Allocation(groups_of(**sizes), scores, floor=0.1, round_to=1)
    plan = reach([allocation], is_local=True, target=55, within=0, cost=channels_left(sizes))
    assert sorted(len(removed) for removed in plan.values()) == [2] * 5 + [3] * 5


def test_the_last_channels_come_from_the_widest_group_first() -> None:
    # 7 of 20: by fractions 1, 4 and 1 up to 3/8, then 2, 5 and 2; one more of 12 is the smallest change
    sizes = {"a": 4, "b": 12, "c": 4}
    scores = {name: torch.arange(float(size)) for name, size in sizes.items()}
    allocation = Allocation(groups_of(**sizes), scores, floor=0.1, round_to=1)
    plan = reach([allocation], is_local=True, target=13, within=0, cost=channels_left(sizes))
    assert {name: len(removed) for name, removed in plan.items()} == {"a": 1, "b": 5, "c": 1}


def test_beyond_the_deepest_cut_the_deepest_is_given() -> None:
    sizes = {"a": 10}
    allocation = Allocation(groups_of(**sizes), {"a": torch.arange(10.0)}, floor=0.5, round_to=1)
    plan = reach([allocation], is_local=True, target=2, within=0, cost=channels_left(sizes))
    assert plan == {"a": (0, 1, 2, 3, 4)}
