"""What the rows say besides the measurements: of the run, and of a network that an earlier run may have cut."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from segprune.checkpoint.ancestry import Cause
from segprune.pruner.contract import Scope
from segprune.stage.state import NetState


@dataclass(frozen=True, kw_only=True)
class RowFacts:
    """What the rows say besides the measurements.

    Attributes:
        run: Name of the run.
        model: Option of the config group.
        pruner: Likewise.
        budget: What the ratio is a fraction of.
        scope: Where the scores were ranked.
        ratio: Fraction to remove; ``None`` where a threshold decides.
        threshold: Channels with a lower score go; ``None`` where a ratio decides.
        labels: Stage -> the part of a run's name that says what it did; of others their word does.
    """

    run: str
    model: str
    pruner: str
    budget: str
    scope: Scope
    ratio: float | None
    threshold: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def cause(self) -> Cause:
        """How the run's own cut is asked for."""
        return Cause(
            pruner=self.pruner,
            budget=self.budget,
            scope=self.scope,
            ratio=self.ratio,
            threshold=self.threshold,
        )


def facts_at(facts: RowFacts, state: NetState) -> RowFacts:
    """Those of one network, which an earlier run may have cut, by another criterion.

    Args:
        facts: Of the run.
        state: The network.
    """
    facts = replace(facts, model=state.model or facts.model)
    cuts = state.ancestry.cuts if state.ancestry else []
    if not cuts:
        return facts
    cut = whole(cuts)
    return replace(facts, **vars(cut))


def whole(cuts: Sequence[Cause]) -> Cause:
    """Cuts in a row as one of the dense network.

    Its ratio is what theirs remove together: for 0.1, then 0.2 of the rest, 1 - 0.9 * 0.8; None where one is not
    known, or they are fractions of different units.

    Args:
        cuts: One or more.
    """
    if len(cuts) == 1:
        return cuts[0]
    budgets, ratios = dict.fromkeys(cut.budget for cut in cuts), [cut.ratio for cut in cuts]
    known = [ratio for ratio in ratios if ratio is not None]
    is_sum = len(budgets) == 1 and len(known) == len(ratios)
    return Cause(
        pruner="+".join(dict.fromkeys(cut.pruner for cut in cuts)),
        budget="+".join(budgets),
        scope=cuts[-1].scope,
        ratio=round(1 - math.prod(1 - ratio for ratio in known), 6) if is_sum else None,
    )
