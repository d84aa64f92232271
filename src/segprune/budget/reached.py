"""What a plan removes, in every unit."""

from dataclasses import dataclass

from segprune.budget.simulate import CostSimulator, Unit
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
    """Fraction of the unit that the plan removes."""
    return 1 - simulator.cost(plan, unit) / simulator.cost({}, unit)
