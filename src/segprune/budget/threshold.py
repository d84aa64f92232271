"""Removal below a threshold: without a ratio; the scores decide how much is removed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field, PositiveFloat

from segprune.budget.allocate import Allocation
from segprune.budget.contract import Reached
from segprune.budget.reached import reached_by
from segprune.budget.simulate import CostSimulator, Unit
from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup, PrunePlan, Scores
from segprune.pruner.contract import Scope, Target


@dataclass(frozen=True, kw_only=True)
class ThresholdBudget:
    """Every channel with a score below the threshold is removed, as far as the floor allows.

    For criteria whose scores mean something by themselves, such as the scales of Network Slimming
    (arXiv:1708.06519). What is removed differs from method to method, so methods cannot be compared by it.

    Attributes:
        threshold: Channels with a lower score go.
        floor: Fraction of each group's channels that always stays; the best ones do.
        round_to: Kept widths are multiples of this, as in ``Allocation``; nothing above the threshold goes for it.
    """

    of: ClassVar[Unit] = "channels"
    threshold: PositiveFloat
    floor: Annotated[float, Field(ge=0, lt=1)]
    round_to: Annotated[int, Field(ge=1)]

    def ranking(self, paper_scope: Scope) -> Scope:
        """One threshold for all groups, wherever the paper ranks."""
        del paper_scope
        return "global"

    def checked(self, ratio: float | None) -> None:
        """None: there must be no ratio.

        Raises:
            ConfigError: There is one.
        """
        if ratio is not None:
            raise ConfigError(
                f"ratio is {ratio:g}, but budget=threshold removes what scores below budget.threshold="
                f"{self.threshold:g}, however much that is. Leave ratio out, or take another budget."
            )

    def refuse_unreachable(
        self, groups: Sequence[ChannelGroup], ratio: float | None, simulator: CostSimulator
    ) -> None:
        """Without a ratio, nothing is out of reach."""
        del groups, simulator
        self.checked(ratio)

    def target(self, ratio: float | None, simulator: CostSimulator) -> Target:
        """All that remains is as much as is asked for."""
        self.checked(ratio)
        return Target(share=1.0, remaining=partial(simulator.expected_share, unit=self.of))

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
        """The plan without the channels below the threshold."""
        del is_last
        self.checked(ratio)
        allocation = Allocation(groups, scores, floor=self.floor, round_to=self.round_to, gone=gone)
        plan = allocation.plan(allocation.below(self.threshold))
        scope = self.ranking(paper_scope)
        reached = reached_by(plan, simulator, of=self.of, scope=scope, asked=None, round_to=self.round_to)
        return replace(reached, threshold=self.threshold)
