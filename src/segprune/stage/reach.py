"""Whether a network can be cut as far as asked, found out before anything is trained."""

import logging
from collections.abc import Mapping

import torch

from segprune.budget.contract import Budget
from segprune.budget.simulate import CostSimulator
from segprune.errors import ConfigError
from segprune.graph.trace import Followed, followed
from segprune.graph.units import by_unit
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Pruner, SelectivePruner, TrainedPruner
from segprune.pruner.partial import scorable, unscored
from segprune.stage.cut_record import by_reason, left_whole

log = logging.getLogger(__name__)


def refuse_unreachable(
    net: SegmentationNet, size_hw: tuple[int, int], *, pruner: Pruner, budget: Budget, ratio: float | None
) -> None:
    """Check that a network can be prepared and cut that far at all; tell what stays whole and why.

    Args:
        net: As it will be cut, or before it is trained; left as it was.
        size_hw: (H, W) in px of the image that MACs are counted for.
        pruner: Which channels matter.
        budget: What the ratio is a fraction of, and its guards.
        ratio: Fraction to remove, in [0, 1); None for a budget that takes none.

    Raises:
        BudgetError: It cannot be cut that far, or not as closely as asked.
        ConfigError: Its channels cannot be followed, or the criterion or its training phase cannot work on it.
    """
    found = followed(net)
    _refuse_all_whole(net, found)
    if found.whole:
        log.info("%s", left_whole(found))
    whole = unscored_by(pruner, net, size_hw)
    groups = scorable(found.groups, whole)
    _tell_unscored(pruner, net, whole, is_all=not groups)
    image = torch.zeros(1, net.bands, *size_hw, device=net.mean.device)
    if isinstance(pruner, TrainedPruner):
        pruner.phase.refuse(net, groups, image)
    if isinstance(pruner, SelectivePruner):
        pruner.refuse(net, [by_unit(group) for group in groups], image)
    simulator = CostSimulator(net, found.groups, size_hw)
    if isinstance(pruner, TrainedPruner) and pruner.phase.needs_budget:
        budget.target(ratio, simulator)
    if simulator.idle:
        log.warning(
            "%s does not compute its logits from %s: they count in no cost, neither params nor MACs",
            *(type(net).__name__, ", ".join(simulator.idle)),
        )
    budget.refuse_unreachable(groups, ratio, simulator)
    if budget.ranking(pruner.scope) == "local":  # how much goes then depends on no score
        scores = {group.name: torch.zeros(group.size) for group in groups}
        budget(groups, scores, ratio=ratio, paper_scope=pruner.scope, simulator=simulator)


def unscored_by(pruner: Pruner, net: SegmentationNet, size_hw: tuple[int, int]) -> dict[str, str]:
    """Names of the groups that a criterion with its training phase cannot work on -> why, see ``unscored``."""
    phase = (pruner.phase,) if isinstance(pruner, TrainedPruner) else ()
    return unscored((pruner, *phase), net, followed(net).groups, size_hw)


def _tell_unscored(pruner: Pruner, net: SegmentationNet, whole: Mapping[str, str], *, is_all: bool) -> None:
    """Say what stays whole because the criterion cannot score it.

    Raises:
        ConfigError: That is all that could be cut.
    """
    if is_all:
        raise ConfigError(
            f"pruner {pruner.name}: it can score no channel of {type(net).__name__}: {by_reason(whole)}. "
            "Take another criterion for this network, e.g. pruner=taylor."
        )
    if whole:
        log.info("%s cannot score, and so leaves whole: %s", pruner.name, by_reason(whole))


def _refuse_all_whole(net: SegmentationNet, found: Followed) -> None:
    """Check that something can be cut.

    Raises:
        ConfigError: Nothing can; says why.
    """
    if not found.groups:
        reasons = left_whole(found) if found.whole else "It has no layer but those that make its logits"
        raise ConfigError(
            f"model: no channel of {type(net).__name__} can be cut. {reasons}. Give layers more than one channel, "
            "put others in the place of what cannot be followed (docs/networks.md), or leave prune out of stages."
        )
