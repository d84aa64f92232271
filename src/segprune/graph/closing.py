"""Parts of a network that torch-pruning does not look into: what they read and what they give stays whole."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from segprune.graph.engine import tp

SPLITS = frozenset(
    {"chunk", "split", "tensor_split", "unbind", "split_with_sizes", "unsafe_chunk", "unsafe_split"}
)
"""Operations that hand parts of the channels to different layers."""


class Edge(nn.Module):
    """Where a tensor goes into a closed part, or comes out of it.

    Args:
        part: Name of the part, for messages.
        channels: Of the tensor.
    """

    def __init__(self, part: str, channels: int) -> None:
        super().__init__()
        self.part, self.channels = part, channels


class Sink(Edge):
    """Where a tensor goes into a closed part."""

    def forward(self, x: Tensor) -> Tensor:
        """The tensor, as an output of the network."""
        return x * 1


class Source(Edge):
    """Where a tensor comes out of one, as if it were computed from nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """The tensor, from a leaf of autograd."""
        return x.detach() * torch.ones((), dtype=x.dtype, requires_grad=True)


class _EdgePruner(tp.pruner.function.BasePruningFunc):  # type: ignore[misc]
    """Tells torch-pruning how wide an edge is; nothing passes through one, and nothing of one is ever removed."""

    def prune_out_channels(self, layer: Edge, idxs: Sequence[int]) -> Edge:  # noqa: ARG002 - its contract
        return layer

    def prune_in_channels(self, layer: Edge, idxs: Sequence[int]) -> Edge:  # noqa: ARG002 - its contract
        return layer

    def get_out_channels(self, layer: Edge) -> int:
        return layer.channels

    def get_in_channels(self, layer: Edge) -> int:
        return layer.channels


def edge_pruners() -> dict[type, Any]:
    """What torch-pruning is told of edges."""
    return {Sink: _EdgePruner(), Source: _EdgePruner()}


class Closing(nn.Module):
    """Puts edges around parts of a network while it runs.

    Args:
        parts: Name -> module; neither the module nor what is in it is looked into.
        watched: Name -> layer that runs without a path to the logits; what it gives is an output too.
        splits: Whether operations that part the channels are closed.
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], watched: Mapping[str, nn.Module], *, splits: bool
    ) -> None:
        super().__init__()
        self._parts, self._watched, self._splits = dict(parts), dict(watched), splits
        self.edges = (
            nn.ModuleList()
        )  # made in the first run, found again in the next: torch-pruning hooks them
        self._count = 0

    @contextmanager
    def around(self) -> Iterator[list[Tensor]]:
        """Within the block the parts are closed; gives the list of what they have read, filled while they run."""
        read: list[Tensor] = []
        self._count = 0
        hooks: list[Any] = []
        for name, part in self._parts.items():
            hooks += [
                part.register_forward_pre_hook(self._before(name, read), with_kwargs=True),
                part.register_forward_hook(lambda _, __, output, name=name: self._outputs(name, output)),
            ]
        for name, layer in self._watched.items():
            hooks.append(
                layer.register_forward_hook(lambda _, __, output, name=name: self._inputs(name, output, read))
            )
        try:
            with _Splits(self, read) if self._splits else torch.enable_grad():
                yield read
        finally:
            for hook in hooks:
                hook.remove()

    def _before(self, name: str, read: list[Tensor]) -> Any:
        return lambda _, args, kwargs: self._inputs(name, (args, kwargs), read)

    def _inputs(self, name: str, given: Any, read: list[Tensor]) -> None:
        for value in tree_flatten(given)[0]:
            if _is_traced(value):
                read.append(self._edge(Sink, name, value))

    def _outputs(self, name: str, given: Any) -> Any:
        return tree_map(lambda value: self._edge(Source, name, value) if _is_traced(value) else value, given)

    def _edge(self, kind: type[Edge], name: str, value: Tensor) -> Tensor:
        if self._count == len(self.edges):
            self.edges.append(kind(name, value.shape[-1 if value.dim() == 3 else min(1, value.dim() - 1)]))
        edge = self.edges[self._count]
        self._count += 1
        crossed: Tensor = edge(value)
        return crossed


class _Splits(TorchFunctionMode):
    """Closes the operations that part channels."""

    def __init__(self, closing: Closing, read: list[Tensor]) -> None:
        super().__init__()
        self._closing, self._read = closing, read

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name not in SPLITS or not args or not _is_traced(args[0]) or not _parts_channels(args[0], result):
            return result
        self._closing._inputs(name, args[0], self._read)
        return self._closing._outputs(name, result)


def _parts_channels(whole: Tensor, parts: Sequence[Tensor]) -> bool:
    axis = 2 if whole.dim() == 3 else min(1, whole.dim() - 1)
    return any(part.dim() != whole.dim() or part.shape[axis] != whole.shape[axis] for part in parts)


def _is_traced(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and value.dim() > 0
