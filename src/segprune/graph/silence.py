"""A network without some of its channels, by setting them to zero where they are made."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from segprune.graph.group import ChannelGroup
from segprune.model.contract import SegmentationNet


@contextmanager
def without(
    net: SegmentationNet, groups: Sequence[ChannelGroup], removals: Sequence[Mapping[str, Sequence[int]]]
) -> Iterator[None]:
    """Within the block, the r-th of R equal parts of every batch runs without the channels of the r-th removal.

    Channels are set to zero behind every layer that makes them or passes them on, before the activation, so that no
    scale or shift of a later layer matters.
    """
    by_name = {group.name: group for group in groups}
    nowhere = torch.empty(0, dtype=torch.int64)
    positions: dict[str, list[Tensor]] = {}
    for part, removal in enumerate(removals):
        for name, channels in removal.items():
            gone = torch.tensor(channels, dtype=torch.int64)
            for member in by_name[name].members:
                if member.axis == "out":
                    own = positions.setdefault(member.layer, [nowhere] * len(removals))
                    own[part] = torch.cat([own[part], member.own[torch.isin(member.root, gone)]])
    with ExitStack() as hooks:
        for layer, own in positions.items():
            silence = partial(_silence, [channels.to(net.mean.device) for channels in own])
            hooks.enter_context(net.get_submodule(layer).register_forward_hook(silence))
        yield


def _silence(positions: Sequence[Tensor], layer: nn.Module, _inputs: object, output: Tensor) -> None:
    axis = -1 if isinstance(layer, nn.Linear) else 1
    for part, channels in zip(output.chunk(len(positions)), positions, strict=True):
        part.index_fill_(axis, channels, 0.0)
