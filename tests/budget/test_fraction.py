from functools import partial

import pytest
import torch

from segprune.budget.fraction import FractionBudget
from segprune.budget.simulate import CostSimulator, Unit
from segprune.errors import BudgetError, ConfigError
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.measure.cost import cost
from segprune.model.contract import SegmentationNet
from tests.toys import TOYS, Plain, Residual, toy


def budget(**changes: object) -> FractionBudget:
    return FractionBudget(
        **{"of": "channels", "scope": "paper", "floor": 0.0, "round_to": 1, "tolerance": 0.05, **changes}
    )


@pytest.mark.parametrize("of", ["channels", "macs", "params"])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("kind", TOYS)
def test_what_is_reported_as_removed_is_what_the_cut_network_lost(
    of: str, scope: str, kind: type[SegmentationNet]
) -> None:
    net = toy(kind)
    groups, size_hw = trace(net), (32, 40)
    scores = {group.name: torch.arange(float(group.size)) for group in groups}
    reached = budget(of=of, scope=scope, tolerance=0.2)(
        groups, scores, ratio=0.4, paper_scope="local", simulator=CostSimulator(net, groups, size_hw)
    )
    small = cut(net, reached.plan)
    assert 1 - cost(small, size_hw).macs / cost(net, size_hw).macs == pytest.approx(reached.macs, abs=1e-12)
    assert 1 - cost(small, size_hw).params / cost(net, size_hw).params == pytest.approx(
        reached.params, abs=1e-12
    )


def test_ratio_zero_removes_nothing() -> None:
    net = toy(Plain)
    groups = trace(net)
    scores = {group.name: torch.rand(group.size) for group in groups}
    simulator = CostSimulator(net, groups, (32, 32))
    reached = budget()(groups, scores, ratio=0.0, paper_scope="local", simulator=simulator)
    assert (dict(reached.plan), reached.channels, reached.macs, reached.params) == ({}, 0.0, 0.0, 0.0)


def test_local_takes_as_much_of_every_group_and_global_the_lowest_of_all() -> None:
    net = toy(Plain)  # groups of 6, 5 and 4 channels
    groups = trace(net)
    # all scores of the first group are below those of the others
    scores = {group.name: 10.0 * index + torch.arange(group.size) for index, group in enumerate(groups)}
    simulator = CostSimulator(net, groups, (32, 32))

    def removed(scope: str, ratio: float) -> list[int]:
        reached = budget(scope=scope)(groups, scores, ratio=ratio, paper_scope="local", simulator=simulator)
        assert reached.scope == scope
        return [len(reached.plan.get(group.name, ())) for group in groups]

    assert [group.size for group in groups] == [6, 5, 4]
    assert removed("global", 0.34) == [5, 0, 0]  # 0.66 of 15 are 9.9 channels: 10 stay
    assert removed("local", 0.34) == [2, 2, 1]


def test_the_papers_scope_is_used_unless_another_is_asked_for() -> None:
    assert budget(scope="paper").ranking("global") == "global"
    assert budget(scope="local").ranking("global") == "local"


def test_a_cut_further_away_than_the_tolerance_is_refused() -> None:
    net = toy(Plain)
    groups = trace(net)
    scores = {group.name: torch.rand(group.size) for group in groups}
    simulator = CostSimulator(net, groups, (32, 32))
    # 0.1 of 15 channels is half a one too many or too few: 1 or 2 go, 0.0667 or 0.1333
    told = r"ratio=0\.1 of channels: .* removes 0\.0667, .*=0\.001\. Give budget\.tolerance=0\.0334\."
    with pytest.raises(BudgetError, match=told):
        budget(tolerance=0.001)(groups, scores, ratio=0.1, paper_scope="local", simulator=simulator)
    with pytest.raises(BudgetError, match=told):  # whatever the scores, so before anything is trained
        budget(tolerance=0.001, scope="global").refuse_unreachable(groups, 0.1, simulator)
    budget(tolerance=0.0334).refuse_unreachable(groups, 0.1, simulator)
    budget(tolerance=0.0334)(groups, scores, ratio=0.1, paper_scope="local", simulator=simulator)


@pytest.mark.parametrize("of", ["macs", "params"])
@pytest.mark.parametrize("round_to", [1, 8])
def test_the_remedy_of_a_refused_cut_works(of: Unit, round_to: int) -> None:
    net = toy(Residual)
    groups, simulator = trace(net), CostSimulator(net, trace(net), (32, 32))
    scores = {group.name: torch.rand(group.size) for group in groups}
    ask = partial(FractionBudget.__call__, groups=groups, scores=scores, ratio=0.31, simulator=simulator)
    with pytest.raises(BudgetError, match="Give") as told:
        ask(budget(of=of, round_to=round_to, tolerance=0.0), paper_scope="local")
    tolerance = float(str(told.value).split("budget.tolerance=")[-1].removesuffix("."))
    ask(budget(of=of, round_to=round_to, tolerance=tolerance), paper_scope="local")


def test_widths_that_are_no_multiples_are_named() -> None:
    net = toy(Plain)  # widths 6, 5 and 4: too narrow for steps of 4, so of 1
    groups = trace(net)
    scores = {group.name: torch.arange(float(group.size)) for group in groups}
    simulator = CostSimulator(net, groups, (32, 32))
    by_four = budget(round_to=4, tolerance=0.01)
    reached = by_four(groups, scores, ratio=2 / 15, paper_scope="local", simulator=simulator)
    kept = {group.name: group.size - len(reached.plan.get(group.name, ())) for group in groups}
    assert (reached.round_to, sum(kept.values())) == (4, 13)
    assert reached.unaligned == {name: width for name, width in kept.items() if width % 4}


def test_an_impossible_budget_says_how_far_one_can_go() -> None:
    net = toy(Plain)
    groups = trace(net)  # widths 6, 5 and 4: with a floor of one half, 3, 3 and 2 stay, so 7 of 15 can go
    simulator = CostSimulator(net, groups, (32, 32))
    message = r"ratio=0\.9 of channels cannot be removed: with budget\.floor=0\.5 at most 0\.4667 can go"
    with pytest.raises(BudgetError, match=message):
        budget(floor=0.5).refuse_unreachable(groups, 0.9, simulator)
    budget(floor=0.5).refuse_unreachable(groups, 0.46, simulator)
    with pytest.raises(BudgetError, match=r"floor=0\.9 nothing can go \(channels of the widest layer: 6\)"):
        budget(floor=0.9, round_to=8).refuse_unreachable(groups, 0.2, simulator)


def test_a_budget_needs_a_ratio() -> None:
    with pytest.raises(ConfigError, match=r"ratio is null, but a budget of macs needs it: give ratio="):
        budget(of="macs").checked(None)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_what_is_gone_stays_gone(scope: str) -> None:
    net = toy(Plain)
    groups = trace(net)
    gone = {"first.0": (1, 4)}
    scores = {group.name: torch.rand(group.size).double() for group in groups}
    scores["first.0"][[1, 4]] = -1.0
    simulator = CostSimulator(net, groups, (32, 32))
    reached = budget(scope=scope, tolerance=0.2)(
        groups, scores, ratio=0.2, paper_scope="local", simulator=simulator, gone=gone
    )
    assert set(gone["first.0"]) <= set(reached.plan["first.0"])
    assert reached.channels == pytest.approx(3 / 15)
