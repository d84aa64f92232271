"""Trial cuts before any work: which of the traced groups are right."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from segprune.errors import ConfigError
from segprune.graph.build import build, noise
from segprune.graph.by_layer import compared
from segprune.graph.cut import LARGEST_MASK_ERROR, cut, difference, take
from segprune.graph.dependency import operations, said, sight
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.undo import undone
from segprune.graph.units import first_of, together, unit_of
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate
from segprune.shortage import shortage

MOST_TRIALS = 48
"""Cuts that are tried to find the wrong groups; what none of them has proven stays whole."""
ENOUGH = 2
"""Groups of a kind, such as those of one layer in every block of a transformer, that are tried if each is wrong."""


def unproven(net: SegmentationNet, groups: Sequence[ChannelGroup]) -> dict[str, str]:
    """The groups that a cut gets wrong, and what happens: name -> reason.

    All groups are cut together, by a third and as deep as can be. Where that fails, ever smaller parts are tried,
    each together with all that is proven so far, and what is left is cut once more, as a whole and as ``cut`` cuts
    it. Logits are compared, and what every layer makes, which a dead channel behind it could hide from them. The
    weights are drawn for it, because trained or initial ones could hide a fault, such as scales that are 0; so it
    depends on the structure of the network alone.
    """
    if not groups:
        return {}
    trial = _Trial(net)
    fault = trial.fault(groups)
    if not fault:
        return {}
    with trial.repeated() as fault_of:
        bad = _wrong(net, groups, fault, fault_of)
    left = [group for group in groups if group.name not in bad]
    if left and (fault := trial.fault(left)):
        bad |= dict.fromkeys((group.name for group in left), fault)
    return bad


def _wrong(
    net: SegmentationNet,
    groups: Sequence[ChannelGroup],
    fault: str,
    fault_of: Callable[[Sequence[ChannelGroup]], str],
) -> dict[str, str]:
    """The groups that trials find wrong; what they do not reach counts as wrong.

    After ``ENOUGH`` wrong ones of a kind the others of it are not tried, and all that waits is tried together.

    Args:
        net: Whose groups they are.
        groups: A cut of all of them is wrong.
        fault: What happens then.
        fault_of: What happens with a cut of some of them; empty if it is right.
    """
    left = MOST_TRIALS
    good: list[ChannelGroup] = []
    bad: dict[str, str] = {}
    count: Counter[Hashable] = Counter()
    part, waiting = list(groups), list[list[ChannelGroup]]()
    while True:
        if not fault:
            good += part
        elif len(part) > 1 and left:
            waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
        else:
            bad |= dict.fromkeys((group.name for group in part), fault)
            kind = _kind(net, part[0].name)
            count[kind] += 1
            if count[kind] == ENOUGH:
                rest = [group for one in reversed(waiting) for group in one]
                others = [group for group in rest if _kind(net, group.name) != kind]
                bad |= {group.name: fault for group in rest if group not in others}
                waiting = [others] if others else []
        if not waiting:
            return bad
        part = waiting.pop()
        fault = fault_of([*good, *part]) if left else f"none of {MOST_TRIALS} trial cuts has proven them"
        left -= bool(left)


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
    if operations(net, image[None].to(net.mean.dtype)) != tried:
        raise ConfigError(
            f"model: {type(net).__name__} runs other operations on the first training image than on an image of "
            "noise. What it runs then depends on what it sees, so that no trial cut can prove that it can be cut. "
            "Let forward run the same operations on every image, or leave prune out of stages."
        )


def trial_plan(groups: Sequence[ChannelGroup]) -> PrunePlan:
    """A third of the channels of every group, at least one unit, drawn always the same."""
    draw = torch.Generator().manual_seed(0)
    return {group.name: _third(group, draw) for group in groups}


def deepest_plan(groups: Sequence[ChannelGroup]) -> PrunePlan:
    """All channels of every group, but for one unit in each layer that has some, drawn always the same."""
    draw = torch.Generator().manual_seed(1)
    return {group.name: _all_but_one(group, draw) for group in groups}


def _all_but_one(group: ChannelGroup, draw: torch.Generator) -> tuple[int, ...]:
    first, units = first_of(group), unit_of(group)
    rank = torch.randperm(len(first), generator=draw)
    kept = {int(min(units[member.root], key=lambda unit: rank[unit])) for member in group.members}
    return together(group, [channel for unit, channel in enumerate(first.tolist()) if unit not in kept])


def _third(group: ChannelGroup, draw: torch.Generator) -> tuple[int, ...]:
    first = first_of(group)
    chosen = torch.randperm(len(first), generator=draw)[: (len(first) + 2) // 3]
    return together(group, first[chosen].tolist())


class _Trial:
    """Cuts a network with drawn weights, and compares it in float64 with the whole one whose channels are zero.

    Args:
        net: Left as it was.
    """

    def __init__(self, net: SegmentationNet) -> None:
        self._net = _shaken(net)
        self._whole = duplicate(self._net).double().eval()
        self._view = sight(net).view

    def fault(self, groups: Sequence[ChannelGroup]) -> str:
        """What is wrong with cuts of these groups, a third and as deep as can be; empty if nothing is."""
        return self._said(groups, lambda plan: nullcontext(cut(self._net, plan).double().eval()))

    @contextmanager
    def repeated(self) -> Iterator[Callable[[Sequence[ChannelGroup]], str]]:
        """``fault``, by cuts of one traced copy that are taken back: for a search, which tries many."""
        with build(self._net, self._view) as (twin, graph):
            twin.double()

            @contextmanager
            def small(plan: PrunePlan) -> Iterator[SegmentationNet]:
                with undone(graph):
                    take(twin, graph, plan)
                    yield twin

            yield lambda groups: self._said(groups, small)

    def _said(
        self,
        groups: Sequence[ChannelGroup],
        small: Callable[[PrunePlan], AbstractContextManager[SegmentationNet]],
    ) -> str:
        for plan in (trial_plan(groups), deepest_plan(groups)):
            try:
                with small(plan) as net, compared(self._whole, net, groups, plan) as layers:
                    error = difference(self._whole, net, groups, plan, self._view.size_hw)
            except Exception as failure:  # whatever a wrong cut of a foreign network ends in
                if shortage(failure, lambda _: None):
                    raise
                return f"a cut of them fails ({said(failure)})"
            if not error <= LARGEST_MASK_ERROR:
                return f"a cut changes the logits by {error:.1e}"
            if wrong := next((one for one in layers if not one[1] <= LARGEST_MASK_ERROR), None):
                return f"a cut changes what {wrong[0]} makes by {wrong[1]:.1e}"
        return ""


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
