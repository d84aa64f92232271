"""torch-pruning's graph of a network: which layers make channels and which ones read them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segprune.graph.closing import Closing, edge_pruners
from segprune.graph.engine import index_mapping, tp
from segprune.graph.heads import Heads, HeadViews
from segprune.graph.layers import Conv
from segprune.graph.parts import Part, Parting, connect, part_pruners
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate

MOST_INDICES = 50_000
"""Positions of one layer that a group may reach: a flattened 512 x 7 x 7 has 25,088, matrices of all pixels by all
pixels millions, which torch-pruning would list for minutes."""

MOST_LISTED = 4 * MOST_INDICES
"""The same, of all tensors that a group is laid out over; attention of all positions by all goes on and on."""

MOST_STEPS = 2000
"""Layers and operations that a group may be followed over: usual ones take a hundred, and where the same places
come again in another order, as in a recurrent cell, there is no end."""

MOST_TIMES = 64
"""How many times a layer's channels its listed positions may be. A view can list some times as many, which is found
later and told as what it is; where each round of a search lists more, they soon are far more."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How torch-pruning looks at a network.

    Attributes:
        size_hw: (H, W) in px of the image it is traced with.
        closed: Names of modules that it does not look into.
        watched: Names of layers that run without a path to the logits.
        splits: Whether operations that part the channels are closed.
    """

    size_hw: tuple[int, int]
    closed: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    splits: bool = False

    def hides(self, name: str) -> bool:
        """Whether a module is one of the closed ones, or in one."""
        return f"{name}.".startswith(tuple(f"{part}." for part in self.closed))


@contextmanager
def build(net: SegmentationNet, view: View) -> Iterator[tuple[SegmentationNet, Any]]:
    """A traced copy of the network on the CPU, and torch-pruning's graph of it.

    The copy is in eval mode, with gradients on for every parameter: torch-pruning silently leaves frozen layers
    out. The graph is that of a ``_Traced`` copy, and its ``model.heads`` has the views of channels as heads.
    """
    twin = duplicate(net).cpu().eval()
    for parameter in twin.parameters():
        parameter.requires_grad = True
    image = noise(twin, 1, view.size_hw)
    graph = tp.DependencyGraph()
    with torch.enable_grad(), _bounded():
        graph.build_dependency(
            _Traced(twin, view, image),
            example_inputs=(image,),
            forward_fn=lambda module, inputs: module(inputs[0]),
            customized_pruners={**edge_pruners(), **part_pruners(), **_norm_pruners(twin)},
            verbose=False,
        )
        connect(graph)
        try:
            yield twin, graph
        finally:
            for node in graph.module2node.values():
                vars(node).clear()  # they hold each other, and with their operations every activation
            graph.module2node.clear()


def noise(net: SegmentationNet, count: int, size_hw: tuple[int, int]) -> Tensor:
    """(count, C, *size_hw) in [0, 1) on the CPU, always the same, in the network's own precision."""
    image = torch.rand(count, net.bands, *size_hw, generator=torch.Generator().manual_seed(0))
    return image.to(net.mean.dtype)


class _Traced(nn.Module):
    """A network with a layer for its image and a node for each of its outputs, which have none by themselves.

    Without them, channels that are concatenated to the image would be counted from 0, channels that are added to it
    cut without it, and logits that another layer reads taken for features.
    """

    def __init__(self, net: SegmentationNet, view: View, image: Tensor) -> None:
        super().__init__()
        self.net = net
        empty = nn.Conv2d(net.bands, net.bands, 1, bias=False, device="meta", dtype=net.mean.dtype)
        self.image = empty.to_empty(device="cpu")
        nn.init.dirac_(self.image.weight)
        parts, watched = (
            {name: net.get_submodule(name) for name in names} for names in (view.closed, view.watched)
        )
        self.heads: Mapping[Any, Heads] = {}
        self.closing = Closing(parts, watched, splits=view.splits)
        self.parting = None if view.splits else Parting()
        self(image)  # makes the edges and parts
        if self.parting and self.parting.shuffles:
            self.parting = None

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        views = HeadViews()
        parted = self.parting.around() if self.parting else nullcontext()
        with self.closing.around() as read, parted, views:
            logits = self.net.traced_logits(self.image(image))
        self.heads = views.found
        return (*(head * 1 for head in logits), *read)


class _WholeNormGroups(tp.pruner.function.GroupNormPruner):  # type: ignore[misc]
    """Takes whole groups out of a GroupNorm; torch-pruning's own keeps their number."""

    def prune_out_channels(self, layer: nn.GroupNorm, idxs: Sequence[int]) -> nn.GroupNorm:
        """The layer without these channels.

        Raises:
            ValueError: They are no whole groups.
        """
        each = layer.num_channels // layer.num_groups
        gone = {index // each for index in idxs}
        if len(gone) * each != len(idxs):
            raise ValueError("channels of a GroupNorm go only with all others of their group")
        pruned: nn.GroupNorm = super().prune_out_channels(layer, idxs)
        pruned.num_groups -= len(gone)
        return pruned

    prune_in_channels = prune_out_channels


def _norm_pruners(net: nn.Module) -> dict[type, Any]:
    pruner = _WholeNormGroups()
    return {type(layer): pruner for layer in net.modules() if isinstance(layer, nn.GroupNorm)}


class _BoundedFlatten(index_mapping._FlattenIndexMapping):  # type: ignore[misc]
    """torch-pruning's map from channels to their pixels in a flattened tensor, for as many as can be listed."""

    listed = 0
    """Places that were listed for the group that is followed now."""

    def __call__(self, idxs: Sequence[Any]) -> list[Any]:
        count = 0 if self.reverse else len(idxs) * self._stride
        _BoundedFlatten.listed += count
        if count > MOST_INDICES:
            raise OverflowError(f"its channels are laid out over {count:,} places of one tensor")
        if _BoundedFlatten.listed > MOST_LISTED:
            raise OverflowError(f"its channels are laid out over more than {MOST_LISTED:,} places of tensors")
        found: list[Any] = super().__call__(idxs)
        return found


def _add_dep(group: Any, dep: Any, idxs: Sequence[Any]) -> None:
    """torch-pruning's, which goes round for ever where each round lays out the channels over more places."""
    layer = dep.target.module
    if not group.items:
        _BoundedFlatten.listed = 0
    if len(group.items) == MOST_STEPS:
        raise OverflowError(f"they go on over more than {MOST_STEPS:,} layers and operations")
    if isinstance(layer, Conv | nn.Linear):
        pruner, reads = dep.handler.__self__, dep.handler.__name__ == "prune_in_channels"
        places = pruner.get_in_channels(layer) if reads else pruner.get_out_channels(layer)
        if len(idxs) > MOST_TIMES * places:
            raise OverflowError(f"its channels come to {len(idxs):,} places of a layer that has {places:,}")
    _ADD_DEP(group, dep, idxs)


def _add_and_merge(group: Any, dep: Any, idxs: Sequence[Any]) -> None:
    """torch-pruning's, which forgets channels that come to one place by several ways or counts it for each."""
    if isinstance(dep.target.module, _LAYERS):
        same = (
            item for item in group.items if item.dep.target == dep.target and item.dep.handler == dep.handler
        )
        here = {index.idx: index.root_idx for item in same for index in item.idxs}
        once: dict[int, Any] = {}
        for index in idxs:
            once.setdefault(index.idx, index)
            if (other := here.setdefault(index.idx, index.root_idx)) != index.root_idx:
                ties_of(group).add((other, index.root_idx))
        idxs = list(once.values())
    _ADD_AND_MERGE(group, dep, idxs)


def ties_of(group: Any) -> set[tuple[int, int]]:
    """Pairs of a group's channels that come to one place of a layer, so that neither goes without the other."""
    ties: set[tuple[int, int]] = vars(group).setdefault("ties", set())
    return ties


_LAYERS = (Conv, nn.Linear, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.PReLU, Part)
"""Kinds whose channels have places of their own; what an operation lists has another meaning for each."""
_ADD_DEP, _ADD_AND_MERGE = tp.dependency.Group.add_dep, tp.dependency.Group.add_and_merge


@contextmanager
def _bounded() -> Iterator[None]:
    whole, group = index_mapping._FlattenIndexMapping, tp.dependency.Group
    index_mapping._FlattenIndexMapping = _BoundedFlatten
    group.add_dep, group.add_and_merge = _add_dep, _add_and_merge
    try:
        yield
    finally:
        index_mapping._FlattenIndexMapping = whole
        group.add_dep, group.add_and_merge = _ADD_DEP, _ADD_AND_MERGE
