"""A fraction of channels, MACs or parameters, and the plan that removes it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field

from segprune.budget.allocate import Allocation, multiples, reach
from segprune.budget.contract import Reached
from segprune.budget.reached import reached_by, removed_by
from segprune.budget.simulate import CostSimulator, Unit
from segprune.errors import BudgetError, ConfigError
from segprune.graph.group import ChannelGroup, PrunePlan, Scores
from segprune.pruner.contract import Scope, Target


@dataclass(frozen=True, kw_only=True)
class FractionBudget:
    """How much is removed, measured in one unit and the same for every method.

    Attributes:
        of: What the ratio is a fraction of: prunable channels, MACs or parameters of the dense network.
        scope: ``local``: every group loses the same fraction; ``global``: the lowest scores of all groups go;
            ``paper``: as the criterion's paper does.
        floor: Fraction of each group's channels that always stays.
        round_to: Kept widths are multiples of this, but for groups without which the ratio could not be met.
        tolerance: Largest allowed distance between the asked and the reached fraction.
    """

    of: Unit
    scope: Literal["paper", "local", "global"]
    floor: Annotated[float, Field(ge=0, lt=1)]
    round_to: Annotated[int, Field(ge=1)]
    tolerance: Annotated[float, Field(ge=0, lt=1)]

    def ranking(self, paper_scope: Scope) -> Scope:
        """Where scores are ranked, given the scope of the criterion's paper."""
        return paper_scope if self.scope == "paper" else self.scope

    def checked(self, ratio: float | None) -> float:
        """The ratio, which has to be given.

        Raises:
            ConfigError: There is none.
        """
        if ratio is None:
            raise ConfigError(
                f"ratio is null, but a budget of {self.of} needs it: give ratio=<fraction to remove, in [0, 1)>."
            )
        return ratio

    def refuse_unreachable(
        self, groups: Sequence[ChannelGroup], ratio: float | None, simulator: CostSimulator
    ) -> None:
        """Check that the deepest allowed cut removes at least the ratio; scores do not matter for that.

        Nor do they for the number of whole channels that is closest to a ratio of channels.

        Raises:
            BudgetError: It removes less, or whole channels do not come close enough; says how much.
        """
        ratio = self.checked(ratio)
        self._refuse_deeper(groups, ratio, simulator)
        if self.of == "channels":
            self._refuse_far(ratio, 1 - _target(self.of, simulator, ratio) / simulator.cost({}, self.of))

    def _refuse_deeper(self, groups: Sequence[ChannelGroup], ratio: float, simulator: CostSimulator) -> None:
        any_scores = {group.name: torch.zeros(group.size) for group in groups}
        allocation = Allocation(groups, any_scores, floor=self.floor, round_to=1)
        most = removed_by(allocation.plan(allocation.deepest), simulator, self.of)
        if most < ratio - self.tolerance:
            what = f"ratio={ratio} of {self.of} cannot be removed: with budget.floor={self.floor} "
            if most == 0:
                widest = max((group.size for group in groups), default=1)
                raise BudgetError(
                    f"{what}nothing can go (channels of the widest layer: {widest}). Lower budget.floor, or take a "
                    "wider network."
                )
            raise BudgetError(f"{what}at most {most:.4f} can go. Ask for less, or lower budget.floor.")

    def target(self, ratio: float | None, simulator: CostSimulator) -> Target:
        """The fraction that should remain, and what is expected to."""
        return Target(
            share=1 - self.checked(ratio), remaining=partial(simulator.expected_share, unit=self.of)
        )

    def __call__(
        self,
        groups: Sequence[ChannelGroup],
        scores: Scores,
        *,
        ratio: float | None,
        paper_scope: Scope,
        simulator: CostSimulator,
        gone: PrunePlan | None = None,
        is_last: bool = True,
    ) -> Reached:
        """The plan that removes ``ratio`` of the unit, with the channels that are gone already among them.

        A plan that later rounds continue need not come within the tolerance.

        Raises:
            BudgetError: The ratio is out of reach, or no allowed cut comes within the tolerance.
        """
        ratio = self.checked(ratio)
        scope = self.ranking(paper_scope)
        plan: PrunePlan = {}
        if ratio > 0:
            self._refuse_deeper(groups, ratio, simulator)
            plan = reach(
                [
                    Allocation(groups, scores, floor=self.floor, round_to=step, gone=gone)
                    for step in multiples(self.round_to)
                ],
                is_local=scope == "local",
                target=_target(self.of, simulator, ratio),
                within=self.tolerance * simulator.cost({}, self.of),
                cost=lambda candidate: simulator.cost(candidate, self.of),
                is_last=is_last,
            )
        reached = reached_by(plan, simulator, of=self.of, scope=scope, asked=ratio, round_to=self.round_to)
        if is_last:
            self._refuse_far(ratio, removed_by(plan, simulator, self.of))
        return reached

    def _refuse_far(self, ratio: float, removed: float) -> None:
        miss = abs(removed - ratio)
        if miss > self.tolerance:
            enough = math.ceil(1e4 * miss) / 1e4
            raise BudgetError(
                f"ratio={ratio} of {self.of}: the closest cut of whole channels removes {removed:.4f}, further "
                f"away than budget.tolerance={self.tolerance}. Give budget.tolerance={enough:g}."
            )


def _target(unit: Unit, simulator: CostSimulator, ratio: float) -> float:
    """What should remain; whole channels, so that a channel budget is met exactly."""
    remaining = (1 - ratio) * simulator.cost({}, unit)
    return round(remaining) if unit == "channels" else remaining
