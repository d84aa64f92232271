import pytest
import torch

from segprune.budget.allocate import Allocation, reach
from segprune.graph.group import ChannelGroup


def groups_of(**sizes: int) -> list[ChannelGroup]:
    return [ChannelGroup(name=name, size=size, members=()) for name, size in sizes.items()]


def channels_left(sizes: dict[str, int]):
    return lambda plan: sum(sizes.values()) - sum(len(removed) for removed in plan.values())


def test_tied_scores_still_remove_exactly_what_was_asked() -> None:
    # the case in which `score <= threshold` removes everything or nothing: all scores are equal
    sizes = {"a": 16, "b": 16}
    allocation = Allocation(groups_of(**sizes), {n: torch.ones(16) for n in sizes}, floor=0.1, round_to=1)
    for target in (31, 24, 9, 4):
        plan = reach(allocation, is_local=False, target=target, cost=channels_left(sizes))
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
            assert kept == allocation.sizes[name] or kept % 8 == 0
    assert allocation.deepest == {"a": 42, "b": 16, "narrow": 0}


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
        plan = reach(allocation, is_local=is_local, target=target, cost=channels_left(sizes))
        assert channels_left(sizes)(plan) == target


def test_the_last_channels_come_from_all_groups_alike() -> None:
    # 25 of 80: groups of one size all go from 2 to 3 at the same fraction, so 5 channels are left to find
    sizes = dict.fromkeys("abcdefghij", 8)
    scores = {name: torch.arange(8.0) for name in sizes}
    allocation = Allocation(groups_of(**sizes), scores, floor=0.1, round_to=1)
    plan = reach(allocation, is_local=True, target=55, cost=channels_left(sizes))
    assert sorted(len(removed) for removed in plan.values()) == [2] * 5 + [3] * 5


def test_the_last_channels_come_from_the_widest_group_first() -> None:
    # 7 of 20: by fractions 1, 4 and 1 up to 3/8, then 2, 5 and 2; one more of 12 is the smallest change
    sizes = {"a": 4, "b": 12, "c": 4}
    scores = {name: torch.arange(float(size)) for name, size in sizes.items()}
    allocation = Allocation(groups_of(**sizes), scores, floor=0.1, round_to=1)
    plan = reach(allocation, is_local=True, target=13, cost=channels_left(sizes))
    assert {name: len(removed) for name, removed in plan.items()} == {"a": 1, "b": 5, "c": 1}


def test_beyond_the_deepest_cut_the_deepest_is_given() -> None:
    sizes = {"a": 10}
    allocation = Allocation(groups_of(**sizes), {"a": torch.arange(10.0)}, floor=0.5, round_to=1)
    plan = reach(allocation, is_local=True, target=2, cost=channels_left(sizes))
    assert plan == {"a": (0, 1, 2, 3, 4)}
