"""A trial cut before any work: whether the traced groups are right."""

from collections.abc import Sequence

import torch

from segprune.errors import BudgetError, ConfigError
from segprune.graph.cut import LARGEST_MASK_ERROR, cut, mask_error
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.model.contract import SegmentationNet


def refuse_unproven(net: SegmentationNet, groups: Sequence[ChannelGroup]) -> None:
    """Try a cut of all groups; if it fails, find the group to blame by cutting one after the other.

    Raises:
        ConfigError: The channels of a group cannot be followed through the network.
    """
    plan = trial_plan(groups)
    if not _fault(net, groups, plan):
        return
    faults = {name: _fault(net, groups, {name: channels}) for name, channels in plan.items()}
    name = next((name for name, fault in faults.items() if fault), groups[0].name)
    raise ConfigError(
        f"model: the channels of layer {name!r} of {type(net).__name__} cannot be followed through the network: "
        f"{faults[name] or 'cut with all others, they give wrong logits'}. Operations that reorder or mix channels "
        "without a layer (view, index, softmax, a shuffle) break the trace, and so does an activation that does "
        "not map 0 to 0: put layers in their place, or give traced_logits every coupling of channels."
    )


def trial_plan(groups: Sequence[ChannelGroup]) -> PrunePlan:
    """A third of the channels of every group, at least one, drawn always the same."""
    draw = torch.Generator().manual_seed(0)
    return {
        group.name: tuple(
            sorted(torch.randperm(group.size, generator=draw)[: (group.size + 2) // 3].tolist())
        )
        for group in groups
    }


def _fault(net: SegmentationNet, groups: Sequence[ChannelGroup], plan: PrunePlan) -> str:
    """What is wrong with a cut; empty if nothing is."""
    try:
        error = mask_error(net, cut(net, plan), groups, plan)
    except (BudgetError, IndexError, RuntimeError) as failure:
        return str(failure)
    # weights that are not finite are not the groups' fault, and are reported where they are read
    return f"a cut changes the logits by {error:.1e}" if error > LARGEST_MASK_ERROR else ""
