"""Where a network views the channels of a tensor as heads, and which of them then go only together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

VIEWS = ("view", "reshape", "unflatten")
"""Functions that make one axis two."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """A view of C channels as A x B, of which one number is written down and the other one follows.

    Attributes:
        channels: C.
        width: B.
        is_open: Whether A follows: then all B channels of a head go together; else the same place of every head.
    """

    channels: int
    width: int
    is_open: bool

    def pieces(self, own: Tensor) -> Tensor:
        """(M,) int64 channels -> (M,) the piece that each is in."""
        return own // self.width if self.is_open else own % self.width


class HeadViews(TorchFunctionMode):
    """Within it, notes the views.

    Attributes:
        found: Node of autograd that a view made -> the view.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Any, Heads] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in VIEWS and isinstance(result, Tensor) and not kwargs:
            heads = heads_of(args[0].shape, _sizes(name, args), result.shape)
            if heads is not None and result.grad_fn is not None:
                self.found[result.grad_fn] = heads
        return result


def heads_of(before: Sequence[int], asked: Sequence[Any], after: Sequence[int]) -> Heads | None:
    """The view of one axis as two, of which one was asked for as -1; None for any other view.

    Args:
        before: Shape of the tensor.
        asked: Of its view: sizes, -1 for the one that follows.
        after: Shape of the view.
    """
    axis = next((k for k, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), None)
    if axis is None or len(asked) != len(after) or axis + 1 >= len(after):
        return None
    many, width = after[axis], after[axis + 1]
    if many * width != before[axis] or -1 not in (asked[axis], asked[axis + 1]):
        return None
    return Heads(channels=before[axis], width=width, is_open=asked[axis] == -1)


def _sizes(name: str, args: Sequence[Any]) -> tuple[Any, ...]:
    """What a view was asked for, in every axis."""
    whole, *rest = args
    if name == "unflatten":
        axis, parts = rest[0] % whole.dim(), tuple(rest[1])
        return (*whole.shape[:axis], *parts, *whole.shape[axis + 1 :])
    return tuple(rest[0]) if rest and isinstance(rest[0], tuple | list) else tuple(rest)
