"""A trial cut before any work: which of the followed groups are right."""

import time
from collections.abc import Sequence

import torch
from torch import nn

from segprune.errors import ConfigError
from segprune.graph.cut import LARGEST_MASK_ERROR, mask_error, units_of, without_units
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.wiring import TRACE_SIZE_HW, Wiring, wiring
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate
from segprune.shortage import shortage

LONGEST_SEARCH_S = 60
"""After this long, groups that no trial cut has proven yet stay whole."""
SMALL_PX = 128 * 128
"""Images up to here are tried as they are; larger ones at ``TRACE_SIZE_HW`` where the same operations run there."""


def unproven(
    net: SegmentationNet, wired: Wiring, groups: Sequence[ChannelGroup], size_hw: tuple[int, int]
) -> dict[str, str]:
    """The groups that a cut gets wrong, and how: name -> what happens.

    All groups are cut together. Where that fails, ever smaller parts are tried, each together with all that is
    proven so far, so that what is left is proven as a whole. Weights that could hide a fault, such as scales that
    begin at 0, are drawn anew for it; the network stays as it is.
    """
    trial = _Trial(net, wired, groups, proof_size(net, size_hw))
    stop_at = time.monotonic() + LONGEST_SEARCH_S
    good: list[ChannelGroup] = []
    bad: dict[str, str] = {}
    waiting = [list(groups)] if groups else []
    while waiting:
        part = waiting.pop()
        fault = trial.fault([*good, *part])
        if not fault:
            good += part
        elif len(part) == 1:
            bad[part[0].name] = fault
        elif time.monotonic() > stop_at:
            bad |= dict.fromkeys((group.name for group in part), "no trial cut has proven it in time")
        else:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
    return bad


def trial_plan(groups: Sequence[ChannelGroup]) -> PrunePlan:
    """A third of the channels of every group, at least one, drawn always the same."""
    draw = torch.Generator().manual_seed(0)
    return {
        group.name: tuple(
            sorted(torch.randperm(group.size, generator=draw)[: (group.size + 2) // 3].tolist())
        )
        for group in groups
    }


class _Trial:
    """Cuts copies of a network and compares them with it."""

    def __init__(
        self, net: SegmentationNet, wired: Wiring, groups: Sequence[ChannelGroup], size_hw: tuple[int, int]
    ) -> None:
        self._net, self._wired, self._groups, self._size_hw = _shaken(net), wired, groups, size_hw

    def fault(self, groups: Sequence[ChannelGroup]) -> str:
        """What is wrong with cuts of these groups; empty if nothing is."""
        thirds = trial_plan(groups)
        return self._fault(thirds) or self._fault({name: channels[:1] for name, channels in thirds.items()})

    def _fault(self, plan: PrunePlan) -> str:
        try:
            small = without_units(self._net, self._wired, units_of(self._net, self._wired, plan))
            error = mask_error(self._net, small, self._groups, plan, self._size_hw)
            _train(small, self._size_hw)
        except Exception as failure:  # whatever a foreign forward raises at other widths
            if shortage(failure, lambda _: None):
                raise
            return str(failure).partition("\n")[0][:200] or type(failure).__name__
        # weights that are not finite are not the groups' fault, and are reported where they are read
        return f"a cut changes the logits by {error:.1e}" if error > LARGEST_MASK_ERROR else ""


def _train(net: SegmentationNet, size_hw: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size_hw, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        net.train().all_logits(image.to(next(net.parameters()).dtype))


def _shaken(net: SegmentationNet) -> SegmentationNet:
    """A copy on the CPU in which nothing has one value for all channels, as norms and biases have at first."""
    twin = duplicate(net).cpu().double()
    draw = torch.Generator().manual_seed(3)
    for module in twin.modules():
        is_norm = isinstance(module, nn.modules.batchnorm._NormBase)
        tensors = [*module._parameters.items(), *(module._buffers.items() if is_norm else ())]
        for name, tensor in tensors:
            if tensor is not None and _is_uniform(tensor):
                is_centred = name in ("bias", "running_mean")
                drawn = torch.rand(tensor.shape, generator=draw, dtype=tensor.dtype)
                tensor.data.copy_(drawn - 0.5 if is_centred else drawn + 0.5)
    return twin


def _is_uniform(tensor: torch.Tensor) -> bool:
    is_many = tensor.is_floating_point() and tensor.numel() > 1
    return is_many and bool((tensor == tensor.flatten()[0]).all())


def proof_size(net: SegmentationNet, size_hw: tuple[int, int]) -> tuple[int, int]:
    """The size of images to prove a cut on: a small one where the same operations run on images of either size."""
    if size_hw[0] * size_hw[1] <= SMALL_PX:
        return size_hw
    try:
        is_same = wiring(net, TRACE_SIZE_HW).operations == wiring(net, size_hw).operations
    except ConfigError:
        return size_hw
    return TRACE_SIZE_HW if is_same else size_hw
