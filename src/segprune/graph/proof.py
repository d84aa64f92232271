"""Trial cuts before any work: which of the traced groups are right."""

from collections.abc import Hashable, Sequence

import torch
from torch import nn

from segprune.errors import ConfigError
from segprune.graph.build import noise
from segprune.graph.cut import LARGEST_MASK_ERROR, cut, mask_error
from segprune.graph.dependency import operations, said, sight
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.units import first_of, together
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate
from segprune.shortage import shortage

MOST_TRIALS = 48
"""Cuts that are tried to find the wrong groups; what none of them has proven stays whole."""
ENOUGH = 2
"""Groups of a kind, such as those of one layer in every block of a transformer, that are tried if each is wrong."""


def unproven(net: SegmentationNet, groups: Sequence[ChannelGroup]) -> dict[str, str]:
    """The groups that a cut gets wrong, and what happens: name -> reason.

    All groups are cut together. Where that fails, ever smaller parts are tried, each together with all that is
    proven so far, so that what is left is proven as a whole. After ``ENOUGH`` wrong ones of a kind the others of it
    are not tried. The weights are drawn for it, because trained or initial ones could hide a fault, such as scales
    that are 0; so it depends on the network's structure alone.
    """
    trial, left = _shaken(net), MOST_TRIALS
    good: list[ChannelGroup] = []
    bad: dict[str, str] = {}
    faults: dict[Hashable, list[str]] = {}
    waiting = [list(groups)] if groups else []
    while waiting:
        part = waiting.pop()
        alike = {group.name: faults.get(_kind(net, group.name), []) for group in part}
        bad |= {name: found[-1] for name, found in alike.items() if len(found) >= ENOUGH}
        part = [group for group in part if group.name not in bad]
        fault = _fault(trial, [*good, *part]) if left else f"none of {MOST_TRIALS} trial cuts has proven them"
        left -= bool(left)
        if not fault:
            good += part
        elif len(part) == 1 or not left:
            bad |= dict.fromkeys((group.name for group in part), fault)
            faults.setdefault(_kind(net, part[0].name), []).append(fault)
        else:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
    return bad


def _kind(net: nn.Module, name: str) -> Hashable:
    """The kind of the module that a layer is in, and its name there; the same in blocks of one class."""
    parts = name.split(".")
    for depth in range(len(parts) - 1, -1, -1):
        inside = net.get_submodule(".".join(parts[:depth]))
        if not isinstance(inside, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return type(inside), ".".join(parts[depth:])
    return name


def refuse_branches(net: SegmentationNet, image: torch.Tensor) -> None:
    """Check that a network runs the same operations on a real image as on the noise that its cuts are proven on.

    Args:
        net: Left as it was.
        image: (3, H, W) in [0, 1].

    Raises:
        ConfigError: It does not.
    """
    tried = operations(net, noise(net, 1, sight(net).view.size_hw))
    if operations(net, image[None].to(next(net.parameters()).dtype)) != tried:
        raise ConfigError(
            f"model: {type(net).__name__} runs other operations on the first training image than on an image of "
            "noise. What it runs then depends on what it sees, so that no trial cut can prove that it can be cut. "
            "Let forward run the same operations on every image, or leave prune out of stages."
        )


def trial_plan(groups: Sequence[ChannelGroup]) -> PrunePlan:
    """A third of the channels of every group, at least one unit, drawn always the same."""
    draw = torch.Generator().manual_seed(0)
    return {group.name: _third(group, draw) for group in groups}


def _third(group: ChannelGroup, draw: torch.Generator) -> tuple[int, ...]:
    first = first_of(group)
    chosen = torch.randperm(len(first), generator=draw)[: (len(first) + 2) // 3]
    return together(group, first[chosen].tolist())


def _fault(net: SegmentationNet, groups: Sequence[ChannelGroup]) -> str:
    """What is wrong with a cut; empty if nothing is."""
    plan = trial_plan(groups)
    try:
        error = mask_error(net, cut(net, plan), groups, plan)
    except Exception as failure:  # whatever a wrong cut of a foreign network ends in
        if shortage(failure, lambda _: None):
            raise
        return f"a cut of them fails ({said(failure)})"
    return "" if error <= LARGEST_MASK_ERROR else f"a cut changes the logits by {error:.1e}"


def _shaken(net: SegmentationNet) -> SegmentationNet:
    """A copy on the CPU in which no parameter and no norm statistic is at its start or at any usual value."""
    twin = duplicate(net).cpu()
    draw = torch.Generator().manual_seed(3)
    for module in twin.modules():
        is_norm = isinstance(module, nn.modules.batchnorm._NormBase)
        for name, tensor in [*module._parameters.items(), *(module._buffers.items() if is_norm else ())]:
            if tensor is None or not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=draw)
            if name == "running_var" or (name == "weight" and tensor.dim() == 1):
                noise = 0.5 + torch.rand(tensor.shape, generator=draw)
            elif tensor.dim() > 1:
                noise = noise / (tensor.numel() / tensor.shape[0]) ** 0.5
            tensor.data.copy_(noise)
    return twin
