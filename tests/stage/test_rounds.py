from dataclasses import replace

import pytest
import torch

from segprune.budget.fraction import FractionBudget
from segprune.budget.simulate import CostSimulator
from segprune.errors import BudgetError, CutError
from segprune.graph.cut import cut
from segprune.graph.trace import trace
from segprune.measure.cost import cost
from segprune.model.contract import SegmentationNet
from segprune.pruner.bn_scale import BnScale
from segprune.pruner.contract import Pruner
from segprune.pruner.fgp import Fgp
from segprune.pruner.fisher import Fisher
from segprune.pruner.fpgm import Fpgm
from segprune.pruner.group_l2 import GroupL2
from segprune.pruner.lamp import Lamp
from segprune.pruner.taylor import Taylor
from segprune.stage.rounds import Rounds, proven, refuse_other_cost, renumbered, spread
from segprune.stage.scoring import Scored
from tests.pruner.surgery import traced, whole
from tests.pruner.test_sirfp import PAPER
from tests.toys import CLASSES, TOYS, Concat, Residual, toy, toy_calibration


def rounds(count: int, *, of: str = "channels", scope: str = "local", seed: int = 0) -> Rounds:
    """Scores drawn anew in every round, so that rounds have something to decide."""
    generator = torch.Generator().manual_seed(seed)
    return Rounds(
        score=lambda net, groups, number: Scored(
            scores={g.name: torch.rand(g.size, generator=generator).double() for g in groups},
            seconds=number,
            peak_mb=10 / number,
        ),
        scope=scope,
        budget=FractionBudget(of=of, scope="paper", floor=0.1, round_to=1, tolerance=0.2),
        ratio=0.5,
        count=count,
        train_between=lambda net, plans, number: net,
    )


def test_scores_are_spread_over_the_channels_that_are_left() -> None:
    full = spread({"0": torch.tensor([5.0, 7.0])}, [whole(4, "0")], {"0": (1, 2)})
    assert full["0"].tolist() == [5.0, 4.0, 4.0, 7.0]


def test_a_group_with_one_channel_left_needs_no_score() -> None:
    groups, gone = [whole(3, "0"), whole(2, "1")], {"0": (0, 2)}
    assert spread({"1": torch.tensor([5.0, 7.0])}, groups, gone)["0"].tolist() == [4.0, 7.0, 4.0]
    assert spread({}, groups[:1], gone)["0"].tolist() == [-1.0, 0.0, -1.0]


def test_plans_are_renumbered_to_the_channels_that_are_left() -> None:
    groups = [whole(6, "0"), whole(3, "1")]
    # 0 2 3 5 are left and become 0 1 2 3; 3 and 5 go
    assert renumbered({"0": (1, 3, 4, 5), "1": ()}, groups, {"0": (1, 4)}) == {"0": (2, 3)}


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("kind", TOYS)
def test_many_cuts_one_after_the_other_are_the_one_cut_of_the_whole_plan(
    kind: type[SegmentationNet], scope: str
) -> None:
    net = toy(kind)
    result = rounds(3, scope=scope)(net, (32, 32))
    at_once = cut(net, result.reached.plan)
    assert len(result.cuts) == 3
    for a, b in zip(result.net.state_dict().values(), at_once.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    again = net
    for made_by in result.cuts:
        again = made_by.replay(again)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(image), result.net(image))
    assert result.error < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("of", ["channels", "macs", "params"])
def test_rounds_change_which_channels_go_not_how_many(of: str) -> None:
    net, size_hw = toy(Residual), (32, 32)
    once, thrice = (rounds(count, of=of)(net, size_hw) for count in (1, 3))
    for result in (once, thrice):
        removed = {
            "channels": 1 - sum(g.size for g in trace(result.net)) / sum(g.size for g in traced(Residual)),
            "macs": 1 - cost(result.net, size_hw).macs / cost(net, size_hw).macs,
            "params": 1 - cost(result.net, size_hw).params / cost(net, size_hw).params,
        }
        assert getattr(result.reached, of) == pytest.approx(removed[of], abs=1e-9)
    assert getattr(thrice.reached, of) == pytest.approx(getattr(once.reached, of), abs=0.1)


@pytest.mark.slow
def test_only_the_last_round_has_to_meet_the_ratio() -> None:
    budget = FractionBudget(of="channels", scope="paper", floor=0.0, round_to=1, tolerance=0.001)
    net = toy(Residual)  # groups of 6 and 4 channels: 0.1 and 0.4 can go, 0.15 and 0.35 cannot
    once, many = (replace(rounds(count, scope="global"), budget=budget, ratio=0.4) for count in (1, 8))
    assert once(net, (32, 32)).reached.channels == many(net, (32, 32)).reached.channels == pytest.approx(0.4)
    with pytest.raises(
        BudgetError, match=r"ratio=0\.35 of channels: the closest cut of whole channels removes"
    ):
        replace(once, ratio=0.35)(net, (32, 32))


@pytest.mark.slow
@pytest.mark.parametrize("of", ["channels", "macs"])
def test_rounds_in_coarse_steps_end_where_one_does(of: str) -> None:
    net, budget = toy(Residual), FractionBudget(of=of, scope="paper", floor=0.1, round_to=8, tolerance=0.1)
    once, many = (replace(rounds(count), budget=budget, ratio=0.5)(net, (32, 32)) for count in (1, 5))
    assert getattr(many.reached, of) == pytest.approx(getattr(once.reached, of), abs=0.2)


CRITERIA = [
    BnScale(),
    Fgp(gradient="mean"),
    Fisher(),
    Fpgm(norm_mix=0.0, normalize="none"),
    GroupL2(normalize="mean"),
    Lamp(),
    PAPER,
    Taylor(variant="gate"),
]


@pytest.mark.slow
@pytest.mark.parametrize("pruner", CRITERIA, ids=lambda pruner: pruner.name)
def test_every_kind_of_criterion_scores_what_is_left_and_keeps_the_width(pruner: Pruner) -> None:
    # signed and negative scores, shares and ranks: what went in the first round stays below all of them
    net, calibration = toy(Concat), toy_calibration()
    once, twice = (
        replace(
            rounds(count),
            score=lambda net, groups, _: Scored(
                scores=pruner(net, groups, calibration), seconds=0.0, peak_mb=0.0
            ),
            scope=pruner.scope,
        )(net, (32, 32))
        for count in (1, 2)
    )
    assert twice.reached.channels == pytest.approx(once.reached.channels)
    first = twice.cuts[0].plan
    assert all(set(first[name]) <= set(twice.reached.plan[name]) for name in first)
    assert twice.error < 1e-12


def test_every_round_but_the_last_is_followed_by_training() -> None:
    seen: list[tuple[int, int]] = []
    of = rounds(3)
    object.__setattr__(of, "train_between", lambda net, cuts, number: seen.append((number, len(cuts))) or net)
    of(toy(Residual), (32, 32))
    assert seen == [(1, 1), (2, 2)]


def test_the_network_is_left_as_it_was() -> None:
    net = toy(Residual)
    rounds(2)(net, (32, 32))
    for a, b in zip(net.state_dict().values(), toy(Residual).state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_time_is_that_of_all_rounds_and_memory_that_of_the_greediest() -> None:
    result = rounds(3)(toy(Residual), (32, 32))
    assert (result.scoring_s, result.scoring_peak_mb) == (6, 10)


def test_a_cut_network_that_is_another_one_or_cannot_run_stops_the_run() -> None:
    net, plan = toy(Residual), {"stem.0": (1, 2)}
    groups, small = trace(net), cut(net, plan)
    assert proven(net, small, groups, plan) < 1e-13
    with pytest.raises(CutError, match=r"differs from the network with the same .*Give a smaller ratio"):
        proven(net, small, groups, {"stem.0": (1, 3)})
    small.head = torch.nn.Conv2d(5, CLASSES, 1)
    with pytest.raises(CutError, match=r"cannot run \(RuntimeError Given groups=1.*Give a smaller ratio"):
        proven(net, small, groups, plan)


def test_a_cut_that_costs_something_else_than_the_budget_was_told_stops_the_run() -> None:
    net = toy(Residual)
    groups, plan = trace(net), {"stem.0": (1, 2)}
    simulator = CostSimulator(net, groups, (32, 32))
    refuse_other_cost(cut(net, plan), (32, 32), simulator, plan)
    with pytest.raises(
        CutError, match=r"the cut Residual has \d+ MACs and \d+ params, but the budget was met for"
    ):
        refuse_other_cost(cut(net, plan), (32, 32), simulator, {"stem.0": (1,)})
