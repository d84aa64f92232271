import pytest
import torch

from segprune.budget.simulate import CostSimulator
from segprune.budget.threshold import ThresholdBudget
from segprune.errors import ConfigError
from segprune.graph.trace import trace
from tests.toys import Plain, toy


def below(**changes: object) -> ThresholdBudget:
    return ThresholdBudget(**{"threshold": 0.25, "floor": 0.0, "round_to": 1, **changes})


def plan(budget: ThresholdBudget) -> dict[str, tuple[int, ...]]:
    net = toy(Plain)
    groups = trace(net)
    scores = {
        "first.0": torch.tensor([0.1, 0.9, 0.2, 0.25, 0.5, 0.0]),
        "second.0": torch.full((5,), 0.125),
        "bare": torch.ones(4),
    }
    reached = budget(
        groups, scores, ratio=None, paper_scope="local", simulator=CostSimulator(net, groups, (8, 8))
    )
    assert (reached.asked, reached.scope, reached.threshold) == (None, "global", budget.threshold)
    assert reached.channels == pytest.approx(sum(map(len, reached.plan.values())) / 15)
    return dict(reached.plan)


def test_exactly_what_is_below_goes_but_no_layer_dies() -> None:
    assert plan(below()) == {"first.0": (0, 2, 5), "second.0": (0, 1, 2, 3)}


def test_floor_and_rounding_hold() -> None:
    # of 6, at least 4 stay; of 5, at least 3
    assert plan(below(floor=0.6)) == {"first.0": (0, 5), "second.0": (0, 1)}
    # of 6 and 5, a step of 2 would be more than a quarter
    assert plan(below(round_to=2)) == plan(below())


def test_a_ratio_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ratio is 0\.3, but budget=threshold.*=0\.25.*Leave ratio out"):
        below().checked(0.3)
    net = toy(Plain)
    with pytest.raises(ConfigError, match="Leave ratio out"):
        below().refuse_unreachable(trace(net), 0.3, CostSimulator(net, trace(net), (8, 8)))


def test_one_threshold_for_all_groups() -> None:
    assert below().ranking("local") == "global"
