"""What a network's forward runs, whatever its attributes, globals and closures say."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate

ATTRIBUTE = "__get__"
"""Name of the functions that read a tensor's attributes, such as its shape."""
Step = tuple[str, Hashable, Hashable]
"""A function's name, what it was given and what it gave; tensors by number and shape, other things by value."""


def program(net: SegmentationNet, image: Tensor) -> list[Step]:
    """The functions that a forward in eval mode runs on an image, in order; equal for forwards that do the same.

    Args:
        net: Left as it was.
        image: (N, C, H, W).
    """
    twin = duplicate(net).eval()
    own = {id(tensor): name for name, tensor in (*twin.named_parameters(), *twin.named_buffers())}
    with torch.no_grad(), _Steps(own) as steps:
        twin.traced_logits(image.to(next(twin.parameters()).device))
    found: list[Step] = steps.found
    return found


class _Steps(TorchFunctionMode):
    """Notes what runs.

    Args:
        own: Identity of each tensor of the network -> its name.
    """

    def __init__(self, own: Mapping[int, str]) -> None:
        super().__init__()
        self.found: list[Step] = []
        self._names: dict[int, str | int] = dict(own)
        self._seen: list[Tensor] = []  # held, so that no other tensor gets the place of one in memory

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = self._told((args, kwargs or {}))
        name = getattr(func, "__name__", repr(func))
        if name == ATTRIBUTE:
            given = getattr(getattr(func, "__self__", None), "__name__", ""), given
        result = func(*args, **(kwargs or {}))
        self.found.append((name, given, self._told(result)))
        return result

    def _told(self, value: Any) -> Hashable:
        if isinstance(value, Tensor):
            if id(value) not in self._names:
                self._names[id(value)] = len(self._seen)
                self._seen.append(value)
            return self._names[id(value)], tuple(value.shape)
        if isinstance(value, Mapping):
            return tuple((str(key), self._told(one)) for key, one in value.items())
        if isinstance(value, list | tuple):
            return tuple(map(self._told, value))
        if isinstance(value, slice):
            return "slice", value.start, value.stop, value.step
        return hashable(value)


def hashable(value: Any) -> Hashable:
    """Equal for equal plain values, functions and tensors; for other things, if they are the same."""
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous()
        return tuple(content.shape), str(content.dtype), content.flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return tuple((str(key), hashable(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return tuple(hashable(one) for one in value)
    try:
        hash(value)
    except TypeError:  # also of kinds that say they have one, such as weak references
        return _Itself(value)
    return value  # type: ignore[no-any-return]


class _Itself:
    """Equal to what holds the same object; it is held, so that no other one gets its place in memory."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)
