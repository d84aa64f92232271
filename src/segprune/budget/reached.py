"""What a plan removes, in every unit."""

from segprune.budget.contract import Reached
from segprune.budget.simulate import CostSimulator, Unit
from segprune.errors import BudgetError
from segprune.graph.group import PrunePlan
from segprune.pruner.contract import Scope


def reached_by(
    plan: PrunePlan,
    simulator: CostSimulator,
    *,
    of: Unit,
    scope: Scope,
    asked: float | None,
    round_to: int = 1,
) -> Reached:
    """The plan of a budget of one of the simulator's units, with what it removes."""
    return Reached(
        plan=plan,
        scope=scope,
        asked=asked,
        removed=removed_by(plan, simulator, of),
        channels=removed_by(plan, simulator, "channels"),
        macs=removed_by(plan, simulator, "macs"),
        params=removed_by(plan, simulator, "params"),
        round_to=round_to,
        unaligned={name: width for name, width in simulator.widths(plan).items() if width % round_to},
    )


def removed_by(plan: PrunePlan, simulator: CostSimulator, unit: Unit) -> float:
    """Fraction of the unit that the plan removes.

    Raises:
        BudgetError: The network has none of the unit.
    """
    whole = simulator.cost({}, unit)
    if whole == 0:
        raise BudgetError(
            f"the network has no {unit} that could be removed: no layer has more than one channel, except those "
            "that make its output. Make it wider, or leave prune out of stages."
        )
    return 1 - simulator.cost(plan, unit) / whole
