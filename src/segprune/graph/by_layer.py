"""Whether every layer of a cut network makes what it makes in the whole one with the same channels set to zero."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.layers import Conv
from segprune.model.contract import SegmentationNet

LEAST_SCALE = 1e-4
"""Of what a layer makes: drawn weights give around 1, and what is nothing but rounding is far less."""


@contextmanager
def compared(
    whole: SegmentationNet, small: SegmentationNet, groups: Sequence[ChannelGroup], plan: PrunePlan
) -> Iterator[list[tuple[str, float]]]:
    """Within the block the cut network runs, and then the whole one, both with the same calls of their layers.

    Where few channels are left, one that is zero on every image hides from the logits what is wrong before it.

    Args:
        whole: The network; its channels are set to zero by others.
        small: It, cut.
        groups: Of the network.
        plan: What was cut.

    Yields:
        Filled as the whole network runs: name of a convolution or linear layer, and the largest difference of what
        it makes, relative to the largest value; infinite where it is another layer or has another shape.
    """
    gone, made, found = _removed(groups, plan), list[tuple[str, Tensor]](), list[tuple[str, float]]()

    def note(name: str, output: Tensor) -> None:
        made.append((name, output.clone()))  # an activation may change it in place

    def compare(name: str, output: Tensor) -> None:
        axis = -1 if isinstance(whole.get_submodule(name), nn.Linear) else 1
        left = [place for place in range(output.shape[axis]) if place not in gone.get(name, ())]
        expected = output.index_select(axis, torch.tensor(left))
        other, got = made.pop(0) if made else ("", output)
        is_same = other == name and got.shape == expected.shape
        found.append((name, _difference(expected, got) if is_same else math.inf))

    with ExitStack() as hooks:
        for net, tell in ((small, note), (whole, compare)):
            for name, layer in net.named_modules():
                if isinstance(layer, Conv | nn.Linear):
                    hooks.enter_context(layer.register_forward_hook(partial(_tell, tell, name)))
        yield found


def _tell(
    tell: Callable[[str, Tensor], None], name: str, _layer: object, _given: object, output: Tensor
) -> None:
    tell(name, output)


def _removed(groups: Sequence[ChannelGroup], plan: PrunePlan) -> Mapping[str, set[int]]:
    """Layer -> which of the channels that it makes or passes on are cut."""
    gone: dict[str, set[int]] = {}
    for group in groups:
        removed = torch.tensor(plan.get(group.name, ()), dtype=torch.int64)
        for member in group.members:
            if member.axis != "in":
                gone.setdefault(member.layer, set()).update(
                    member.own[torch.isin(member.root, removed)].tolist()
                )
    return gone


def _difference(expected: Tensor, got: Tensor) -> float:
    return float((got - expected).abs().max()) / max(float(expected.abs().max()), LEAST_SCALE)
