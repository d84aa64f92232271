"""What a budget is: how much of a network is removed, in which unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch

from segprune.budget.simulate import CostSimulator
from segprune.graph.group import ChannelGroup, PrunePlan, Scores
from segprune.pruner.contract import Scope, Target


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search by a clock found.

    Attributes:
        library: Of the runtime, with its version.
        timing: How time was taken.
        macs_ratio: Fraction of MACs to ask for, to have the same cut without a search.
        latency: Time of the cut by that of the dense network.
        cuts: Fraction of MACs that each timed cut removes, and its time likewise; in order.
        seconds: Wall time of the search.
    """

    library: str
    timing: str
    macs_ratio: float
    latency: float
    cuts: tuple[tuple[float, float], ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A plan and what it removes.

    Attributes:
        plan: Group name -> channels to remove.
        scope: Where the scores were ranked.
        asked: Fraction of the budget's unit to remove; None where no fraction was asked for.
        removed: Fraction of the budget's unit removed; None where it was not measured.
        channels: Fraction of prunable channels removed.
        macs: Fraction of MACs removed.
        params: Fraction of parameters removed.
        round_to: What widths should be multiples of.
        unaligned: Group name -> channels that stay, of the groups where this is no multiple.
        found: What a search found, of a budget that searches.
        threshold: The score below which channels go, of a budget that is one.
    """

    plan: PrunePlan
    scope: Scope
    asked: float | None
    removed: float | None
    channels: float
    macs: float
    params: float
    round_to: int = 1
    unaligned: Mapping[str, int] = field(default_factory=dict)
    found: Found | None = None
    threshold: float | None = None


@runtime_checkable
class Budget(Protocol):
    """How much goes: a dataclass, made from a YAML of the group ``budget``."""

    @property
    def of(self) -> str:
        """The unit, as rows and messages say it.

        Where it is the name of a metric, or ``<unit>_kept`` is, rows say which fraction of it was removed.
        """

    def ranking(self, paper_scope: Scope) -> Scope:
        """Where scores are ranked, given where the criterion's paper does it."""

    def checked(self, ratio: float | None) -> float | None:
        """The ratio; None for a budget that takes none.

        Raises:
            ConfigError: There is none although there must be, or the reverse.
        """

    def refuse_unreachable(
        self, groups: Sequence[ChannelGroup], ratio: float | None, simulator: CostSimulator
    ) -> None:
        """Check before anything is trained that some allowed cut removes the ratio.

        Raises:
            BudgetError: None does.
        """

    def target(self, ratio: float | None, simulator: CostSimulator) -> Target:
        """What a training phase that learns widths is told; asked for before anything is trained, too.

        Raises:
            ConfigError: Nobody can say what of this unit is expected to remain.
        """

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
        """The plan.

        Args:
            groups: Channel groups of the dense network.
            scores: Group name -> (C,), higher = keep.
            ratio: Fraction of the unit to remove.
            paper_scope: Where the criterion's paper ranks.
            simulator: What a plan costs.
            gone: Channels that earlier rounds removed; they are part of the plan.
            is_last: Whether no round follows, so that the ratio has to be met.

        Raises:
            BudgetError: The ratio is out of reach, or no allowed cut comes close enough.
        """


@runtime_checkable
class MeasuredBudget(Budget, Protocol):
    """A budget that measures on the machine where it runs, so that its result is one of that machine."""

    def setting(self, device: torch.device) -> Mapping[str, str]:
        """What measurements depend on besides the networks and its own arguments; goes into fingerprints.

        Raises:
            ConfigError: It cannot measure on this device.
        """
