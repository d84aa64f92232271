"""Score, plan, cut, prove; once, or in rounds with training in between."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from segprune.budget.contract import Budget, Reached
from segprune.budget.simulate import CostSimulator
from segprune.errors import CutError, SegpruneError
from segprune.graph.cut import LARGEST_MASK_ERROR, mask_error
from segprune.graph.dependency import said
from segprune.graph.group import ChannelGroup, PrunePlan, Scores
from segprune.graph.trace import Followed, followed, trace
from segprune.measure.cost import Cost, cost
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Scope
from segprune.pruner.partial import scorable
from segprune.shortage import shortage
from segprune.stage.scoring import Scored
from segprune.transform.cut import Cut


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How a network is cut down.

    Round ``n`` of ``count`` cuts to ``n / count`` of the ratio, always measured on the network before the first
    round: more rounds change which channels go, never how many. A round before the last one takes less where
    the allowed widths do not meet its share.

    Attributes:
        score: Network, its groups, number of the round from 1 -> scores.
        scope: Where the criterion's paper ranks.
        budget: What the ratio is a fraction of, and its guards.
        ratio: Fraction to remove after the last round.
        count: Number of rounds.
        unscored: Groups that the criterion cannot score, so that they stay whole -> why. What the budget is a
            fraction of has them, so that it is the same for every criterion.
        train_between: Network right after a cut, its cuts so far, number of the round from 1 -> the network to
            score in the next round.
    """

    score: Callable[[SegmentationNet, Sequence[ChannelGroup], int], Scored]
    scope: Scope
    budget: Budget
    ratio: float | None
    count: int
    train_between: Callable[[SegmentationNet, tuple[Cut, ...], int], SegmentationNet]
    unscored: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, source: SegmentationNet, size_hw: tuple[int, int]) -> "Outcome":
        """Cut a copy of the network.

        Args:
            source: The network; left as it was.
            size_hw: (H, W) in px of the image that MACs are counted for.

        Raises:
            BudgetError: The budget is out of reach.
            CutError: A cut network differs from the one with the same channels set to zero, or costs something else
                than the budget expected.
        """
        found = followed(source)
        groups = scorable(found.groups, self.unscored)
        simulator = CostSimulator(source, found.groups, size_hw)
        cuts: tuple[Cut, ...] = ()
        gone: PrunePlan = {}
        net, seconds, memory, worst = source, 0.0, 0.0, 0.0
        for number in range(1, self.count + 1):
            here = scorable(trace(net), self.unscored) if number > 1 else groups
            scored = self.score(net, here, number)
            scores = spread(scored.scores, groups, gone)
            seconds, memory = seconds + scored.seconds, max(memory, scored.peak_mb)
            reached = self.budget(
                groups,
                scores,
                ratio=None if self.ratio is None else self.ratio * number / self.count,
                paper_scope=self.scope,
                simulator=simulator,
                gone=gone,
                is_last=number == self.count,
            )
            made_by = Cut(renumbered(reached.plan, groups, gone))
            small = made_by.replay(net)
            worst = max(worst, proven(net, small, here, made_by.plan))
            refuse_other_cost(small, size_hw, simulator, reached.plan)
            gone, cuts = reached.plan, (*cuts, made_by)
            net = small if number == self.count else self.train_between(small, cuts, number)
        return Outcome(
            followed=found,
            unscored=self.unscored,
            net=net,
            cuts=cuts,
            reached=reached,
            scores=scores,
            scoring_s=seconds,
            scoring_peak_mb=memory,
            error=worst,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A cut network and what is known of its cut.

    Attributes:
        followed: Channels of the network before: its groups, and what stays whole.
        unscored: Which of those groups the criterion could not score, so that they stayed whole -> why.
        net: Right after the last cut.
        cuts: One per round.
        reached: What all rounds together removed, in the channels of the network before.
        scores: Of the last round, in the channels of the network before; those gone earlier are lowest.
        scoring_s: Wall time of all scoring.
        scoring_peak_mb: Most memory that scoring needed beyond what was in use before, in MB (10^6 bytes).
        error: Largest relative error of the proofs.
    """

    followed: Followed
    unscored: Mapping[str, str]
    net: SegmentationNet
    cuts: tuple[Cut, ...]
    reached: Reached
    scores: Scores
    scoring_s: float
    scoring_peak_mb: float
    error: float


def spread(scores: Scores, groups: Sequence[ChannelGroup], gone: PrunePlan) -> Scores:
    """Scores of the channels that are left -> scores of all channels; removed ones score below all others.

    A group with one channel left is not traced any more and has no score; its channel gets the highest score.
    """
    if not gone:
        return scores
    lowest = min((float(score.min()) for score in scores.values()), default=0.0) - 1
    highest = max((float(score.max()) for score in scores.values()), default=0.0)
    full = {}
    for group in groups:
        left = _left(group, gone)
        found = scores.get(group.name)
        full[group.name] = torch.full((group.size,), lowest, dtype=torch.float64)
        full[group.name][left] = highest if found is None else found.double()
    return full


def renumbered(plan: PrunePlan, groups: Sequence[ChannelGroup], gone: PrunePlan) -> PrunePlan:
    """The channels that a plan removes and that are still there, by their numbers among those that are left."""
    cuts = {}
    for group in groups:
        removed = set(plan.get(group.name, ())) - set(gone.get(group.name, ()))
        if removed:
            left = _left(group, gone)
            cuts[group.name] = tuple(new for new, old in enumerate(left) if old in removed)
    return cuts


_TOO_DEEP = (
    "Its forward does something else at these widths, which the trial cuts did not show. Give a smaller ratio, or "
    "let forward do the same at every width."
)


def proven(
    net: SegmentationNet, small: SegmentationNet, groups: Sequence[ChannelGroup], plan: PrunePlan
) -> float:
    """The error of a cut, which must be small.

    Raises:
        CutError: It is too large, or the cut network cannot run.
    """
    try:
        error = mask_error(net, small, groups, plan)
    except Exception as failure:  # whatever a foreign forward ends in
        if isinstance(failure, SegpruneError) or shortage(failure, lambda _: None):
            raise
        raise CutError(f"the cut {type(net).__name__} cannot run ({said(failure)}). {_TOO_DEEP}") from failure
    if not error <= LARGEST_MASK_ERROR:
        raise CutError(
            f"the cut {type(net).__name__} differs from the network with the same channels set to zero by "
            f"{error:.1e} (float64, relative; at most {LARGEST_MASK_ERROR:.0e}), so no result of this cut can be "
            f"trusted. {_TOO_DEEP}"
        )
    return error


def refuse_other_cost(
    small: SegmentationNet, size_hw: tuple[int, int], simulator: CostSimulator, plan: PrunePlan
) -> None:
    """Count what a cut network costs, and compare it with what the budget expected.

    Raises:
        CutError: It costs something else.
    """
    found = cost(small, size_hw)
    expected = Cost(params=simulator.cost(plan, "params"), macs=simulator.cost(plan, "macs"))
    if found != expected:
        raise CutError(
            f"the cut {type(small).__name__} has {found.macs} MACs and {found.params} params, but the budget was "
            f"met for {expected.macs} and {expected.params}, so no result of this cut can be trusted. Its "
            "forward runs other operations at these widths, which the trial cut did not show. Let it run the same "
            "operations at every width."
        )


def _left(group: ChannelGroup, gone: PrunePlan) -> list[int]:
    removed = set(gone.get(group.name, ()))
    return [channel for channel in range(group.size) if channel not in removed]
