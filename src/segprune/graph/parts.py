"""Equal parts of the channels, as ``chunk`` makes them: each is a layer that knows which channels it has."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segprune.graph.engine import HybridIndex, tp
from segprune.graph.heads import VIEWS


class Part(nn.Module):
    """One part of a tensor's channels.

    Args:
        axis: Of the channels.
        widths: Channels of all parts of the tensor, which they share; it shrinks as channels are cut.
        index: Which part.
    """

    def __init__(self, axis: int, widths: list[int], index: int) -> None:
        super().__init__()
        self.axis, self.widths, self.index = axis, widths, index

    @property
    def begins(self) -> int:
        """Channels of the parts before."""
        return sum(self.widths[: self.index])

    def forward(self, whole: Tensor) -> Tensor:
        """The part of the tensor."""
        return whole.narrow(self.axis, self.begins, self.widths[self.index])


class _PartPruner(tp.pruner.function.BasePruningFunc):  # type: ignore[misc]
    """Tells torch-pruning how wide a part is."""

    def prune_out_channels(self, layer: Part, idxs: Sequence[int]) -> Part:
        layer.widths[layer.index] -= len(idxs)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Part) -> int:
        return layer.widths[layer.index]

    get_in_channels = get_out_channels


@dataclass(frozen=True)
class _Places:
    """From channels of the whole tensor to those of a part, or back."""

    part: Part
    is_back: bool

    def __call__(self, channels: Sequence[Any]) -> list[Any]:
        begins, width = self.part.begins, self.part.widths[self.part.index]
        moved = [(one.idx + (begins if self.is_back else -begins), one.root_idx) for one in channels]
        return [HybridIndex(idx, root) for idx, root in moved if self.is_back or 0 <= idx < width]


def part_pruners() -> dict[type, Any]:
    """What torch-pruning is told of parts."""
    return {Part: _PartPruner()}


def connect(graph: Any) -> None:
    """Tell a graph that was built which channels of the whole tensor are those of each part."""
    for part, node in graph.module2node.items():
        if isinstance(part, Part):
            for whole in node.inputs:
                for source, target, is_back in ((node, whole, True), (whole, node, False)):
                    for way in source.dependencies:
                        if way.target is target:
                            way.index_mapping[0] = _Places(part, is_back)


class Parting(nn.Module):
    """Runs a network with a layer for each part that ``chunk`` makes.

    Attributes:
        shuffles: Whether the network viewed its channels as two axes of an image, as a channel shuffle does. It
            lays them out anew, which torch-pruning does not see, so that parts of them cannot be followed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shuffles = False
        self.parts = nn.ModuleList()  # made in the first run, found again in the next
        self._count = 0

    @contextmanager
    def around(self) -> Iterator[None]:
        """Within the block parts are layers."""
        self._count = 0
        with _Chunks(self):
            yield

    def of(self, whole: Tensor, made: Sequence[Tensor]) -> Sequence[Tensor]:
        """The parts that were made, each by its layer; as they are if they are no equal parts of the channels."""
        axis = 2 if whole.dim() == 3 else 1  # tokens have their channels last
        widths = [part.shape[axis] if part.dim() > axis else 0 for part in made]
        if not whole.requires_grad or len(widths) < 2 or {*widths} != {whole.shape[axis] / len(widths)}:
            return made
        if self._count == len(self.parts):
            self.parts.extend(Part(axis, widths, index) for index in range(len(widths)))
        layers = self.parts[self._count : self._count + len(widths)]
        self._count += len(widths)
        return tuple(layer(whole) for layer in layers)


class _Chunks(TorchFunctionMode):
    def __init__(self, parting: Parting) -> None:
        super().__init__()
        self._parting = parting

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name == "chunk" and args:
            return self._parting.of(args[0], result)
        if name in VIEWS and isinstance(result, Tensor) and result.dim() == 5:
            before, (_, one, two, *_) = args[0].shape, result.shape
            self._parting.shuffles |= len(before) == 4 and before[1] == one * two
        return result
