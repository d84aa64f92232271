"""What holds for a network that can be cut: exact cuts, files that come back, a step of training."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from segprune.errors import BudgetError, SegpruneError
from segprune.graph.cut import LARGEST_MASK_ERROR, cut, fit_shapes, mask_error
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.proof import _shaken
from segprune.graph.trace import Followed, followed
from segprune.graph.units import first_of, together
from segprune.measure.cost import cost
from segprune.model.contract import SegmentationNet

SIZES = ((64, 96), (128, 160), (224, 224))
"""(H, W) in px."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What was seen of a network.

    Attributes:
        name: Of the network.
        verdict: ``passes``, or what does not hold.
        groups: Channel groups that can be cut.
        cuttable: Fraction of all channels, in percent.
        macs: Most that a cut removes, in percent: one unit of each group stays, or a tenth of each.
        params: Likewise.
        error: Of a cut of half of every group against the masked network, float64, relative.
        reload: Whether a cut network comes back from its state dict, bit for bit.
        seconds: CPU time to find out what can be cut, trial cuts and all.
        whole: What stays whole, as the log says it.
        alone: What torch-pruning alone makes of a cut of half of every group (``bare``); empty if it was not tried.
    """

    name: str
    verdict: str
    groups: int = 0
    cuttable: float = 0.0
    macs: float = 0.0
    params: float = 0.0
    error: float = 0.0
    reload: bool = False
    seconds: float = 0.0
    whole: str = ""
    alone: str = ""


def tried(name: str, make: Callable[[], SegmentationNet]) -> Tried:
    """Try a network on images of the smallest of ``SIZES`` that it takes; a refusal is a verdict."""
    torch.manual_seed(0)
    try:
        net = make().eval()
        net.image_hw = size_hw = smallest(net)
        started = time.process_time()
        found = followed(net)
        seconds = time.process_time() - started
    except SegpruneError as refusal:
        return Tried(name=name, verdict=f"refused: {refusal}")
    if not found.groups:
        return Tried(name=name, verdict="nothing can be cut", seconds=seconds, whole=told(found))
    dense, narrowest = cost(net, size_hw), cost(_narrowest(net, found), size_hw)
    shaken, half = _shaken(net), _plan(found, 0.5)
    small = cut(shaken, half)
    error = mask_error(shaken, small, found.groups, half)
    reload, trains = _comes_back(net, small, size_hw), _trains(small, size_hw)
    faults = [
        *([f"error {error:.0e}"] if not error <= LARGEST_MASK_ERROR else []),
        *([] if reload else ["does not come back from its state dict"]),
        *([] if trains else ["does not train"]),
    ]
    return Tried(
        name=name,
        verdict="; ".join(faults) or "passes",
        groups=len(found.groups),
        cuttable=100 * found.share,
        macs=100 * (1 - narrowest.macs / dense.macs),
        params=100 * (1 - narrowest.params / dense.params),
        error=error,
        reload=reload,
        seconds=seconds,
        whole=told(found),
    )


def told(found: Followed) -> str:
    """What stays whole and why, each reason once."""
    reasons: dict[str, int] = {}
    for one in found.whole:
        reasons[one.reason] = reasons.get(one.reason, 0) + one.channels
    return "; ".join(f"{channels} channels: {reason}" for reason, channels in reasons.items())


def smallest(net: SegmentationNet) -> tuple[int, int]:
    """The first of ``SIZES`` that a network takes."""
    for size_hw in SIZES[:-1]:
        try:
            with torch.no_grad():
                net(torch.zeros(1, 3, *size_hw))
        except (RuntimeError, AssertionError, ValueError):
            continue
        return size_hw
    return SIZES[-1]


def _narrowest(net: SegmentationNet, found: Followed) -> SegmentationNet:
    try:
        return cut(net, _plan(found, 1.0))
    except BudgetError:  # the channel that stays in a group is none of some layer's
        return cut(net, _plan(found, 0.9))


def _plan(found: Followed, fraction: float) -> PrunePlan:
    draw = torch.Generator().manual_seed(1)
    return {group.name: _some(group, fraction, draw) for group in found.groups}


def _some(group: ChannelGroup, fraction: float, draw: torch.Generator) -> tuple[int, ...]:
    first = first_of(group)
    count = min(int(fraction * len(first)), len(first) - 1)
    return together(group, first[torch.randperm(len(first), generator=draw)[:count]].tolist())


def _comes_back(net: SegmentationNet, small: SegmentationNet, size_hw: tuple[int, int]) -> bool:
    twin = copy.deepcopy(net)
    fit_shapes(twin, small.state_dict())
    twin.load_state_dict(small.state_dict(), strict=True)
    image = torch.rand(1, 3, *size_hw, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return torch.equal(twin.eval()(image), small.eval()(image))


def _trains(small: SegmentationNet, size_hw: tuple[int, int]) -> bool:
    net = copy.deepcopy(small).train()
    heads = net.all_logits(torch.rand(2, 3, *size_hw, generator=torch.Generator().manual_seed(3)))
    torch.stack([logits.square().mean() for logits in heads]).sum().backward()
    return all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
