import pytest

from segprune.budget.reached import reached_by, removed_by
from segprune.budget.simulate import CostSimulator
from segprune.errors import BudgetError
from segprune.graph.trace import trace
from tests.toys import Plain, toy


def test_fractions_of_every_unit_by_hand() -> None:
    # Plain: conv 3->6 (3x3), conv 6->5 (3x3), conv 5->4 (1x1), conv 4->4 (1x1), each with its norm or bias.
    # Without 2 of the 6 channels of the first: 27 * 2 + 2 * 9 * 5 = 144 of 162 + 270 + 20 + 16 = 468 MACs a
    # pixel, and 2 scales and shifts more of 468 + 12 + 10 + 4 + 4 = 498 params.
    net = toy(Plain)
    simulator = CostSimulator(net, trace(net), (8, 8))
    plan = {"first.0": (0, 3)}
    assert removed_by(plan, simulator, "macs") == pytest.approx(144 / 468)
    assert removed_by(plan, simulator, "params") == pytest.approx(148 / 498)
    reached = reached_by(plan, simulator, of="macs", scope="local", asked=0.25)
    assert (reached.channels, reached.asked, reached.scope) == (pytest.approx(2 / 15), 0.25, "local")
    assert reached.macs == reached.removed == pytest.approx(144 / 468)
    assert (reached.round_to, reached.unaligned) == (1, {})
    reached = reached_by(plan, simulator, of="macs", scope="local", asked=0.25, round_to=4)
    assert (reached.round_to, reached.unaligned) == (4, {"second.0": 5})  # 4, 5 and 4 stay


def test_a_network_without_a_channel_to_spare_is_refused() -> None:
    simulator = CostSimulator(toy(Plain), (), (8, 8))
    with pytest.raises(BudgetError, match=r"no channels that could be removed.*leave prune out of stages"):
        removed_by({}, simulator, "channels")
