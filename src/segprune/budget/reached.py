"""What a plan removes, in every unit."""

from dataclasses import dataclass

from segprune.budget.simulate import CostSimulator, Unit
from segprune.errors import BudgetError
from segprune.graph.group import PrunePlan
from segprune.pruner.contract import Scope


@dataclass(frozen=True)
class Reached:
    """A plan and what it removes.

    Attributes:
        plan: Group name -> channels to remove.
        scope: Where the scores were ranked.
        asked: Fraction of the budget's unit to remove; None where no fraction was asked for.
        channels: Fraction of prunable channels removed.
        macs: Fraction of MACs removed.
        params: Fraction of parameters removed.
    """

    plan: PrunePlan
    scope: Scope
    asked: float | None
    channels: float
    macs: float
    params: float


def reached_by(plan: PrunePlan, simulator: CostSimulator, *, scope: Scope, asked: float | None) -> Reached:
    """The plan with what it removes."""
    return Reached(
        plan=plan,
        scope=scope,
        asked=asked,
        channels=removed_by(plan, simulator, "channels"),
        macs=removed_by(plan, simulator, "macs"),
        params=removed_by(plan, simulator, "params"),
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
