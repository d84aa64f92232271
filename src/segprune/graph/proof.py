"""A trial cut before any work: whether the traced groups are right."""

from collections.abc import Sequence

import torch

from segprune.errors import ConfigError, SegpruneError
from segprune.graph.cut import LARGEST_MASK_ERROR, cut, mask_error
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet


def proven_groups(net: SegmentationNet) -> tuple[ChannelGroup, ...]:
    """The channel groups of a network, tried by a cut.

    Raises:
        ConfigError: Its channels cannot be followed.
    """
    try:
        groups = trace(net)
    except (SegpruneError, MemoryError):
        raise
    except Exception as failure:  # whatever the graph of a foreign network ends in
        raise ConfigError(
            f"model: the channels of {type(net).__name__} cannot be followed: {_said(failure)}. Layers of "
            "shared or computed weights (weight tying, weight_norm, spectral_norm), recurrent layers and grouped "
            "attention are known to end so: put others in their place, or leave prune out of stages."
        ) from failure
    refuse_unproven(net, groups)
    return groups


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


def _said(failure: Exception) -> str:
    """The first line of an error of another program, with its kind where the line alone says little."""
    if isinstance(failure, SegpruneError):
        return str(failure)
    line = (str(failure).splitlines() or [""])[0]
    return f"{type(failure).__name__} {line}".strip()


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
    except MemoryError:
        raise
    except Exception as failure:  # noqa: BLE001 - whatever a wrong cut of a foreign network ends in, the caller raises
        return _said(failure)
    # weights that are not finite are not the groups' fault, and are reported where they are read
    return f"a cut changes the logits by {error:.1e}" if error > LARGEST_MASK_ERROR else ""
