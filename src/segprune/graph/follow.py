"""Follows the channels of a network through every operation that it runs, below autograd."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from segprune.graph.channels import Channels, Labels

MOST_OPERATIONS = 60_000
"""Of all passes together; about half a minute. Large networks run some thousands."""
ANY: Final = "any"
"""An axis along which all entries are alike, such as that of zeros or of an expanded gate: it fits any width."""
Axis = Labels | Literal["any"] | None
"""What is known of the entries along an axis: their channels, ``ANY``, or None: as many as there are."""
Axes = tuple[Axis, ...]
_Place = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""Storage, offset, shape and strides: where a tensor's numbers are, however many objects show them."""


class TooLongError(Exception):
    """A pass runs more operations than are followed."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a tensor.

    Attributes:
        shape: Of the tensor.
        axes: One per axis; None for one of size 1.
        near: Bits of the layers that it is computed from, back to the first ones that make channels.
        every: Bits of all layers that it is computed from.
        is_weight: Whether it is computed from parameters alone.
    """

    shape: tuple[int, ...]
    axes: Axes
    near: int = 0
    every: int = 0
    is_weight: bool = False


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation that ran.

    Attributes:
        name: In ``aten``, without the underscore of the kind in place.
        arguments: By name, with the defaults.
        known: Of every tensor among the arguments, as it was before, by ``id``.
        outputs: Its results.
    """

    name: str
    arguments: Mapping[str, Any]
    known: Mapping[int, Known]
    outputs: Sequence[Tensor]

    def maybe(self, name: str) -> Known | None:
        """What is known of the tensor under an argument; None if there is none."""
        return self.known.get(id(self.arguments.get(name)))

    def of(self, *names: str) -> Known:
        """What is known of the tensor under the first of these arguments that there is."""
        return next(known for name in names if (known := self.maybe(name)))

    @property
    def tensors(self) -> list[Known]:
        """What is known of every tensor among the arguments, in order."""
        return [self.known[id(tensor)] for tensor in tensors_in(list(self.arguments.values()))]


Rule = Callable[[Channels, Operation], Sequence[Axes]]
"""What an operation makes of the channels: axes for each of its outputs."""


class RuleOf(Protocol):
    """Gives the rule of an operation."""

    def __call__(self, name: str, *, is_pointwise: bool) -> Rule:
        """The rule for a name, and whether the operation works entry by entry."""


class Follow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within the block, every operation is followed by its rule.

    Args:
        channels: Where it is written down which channels go together.
        rule: Name of an operation and whether it works entry by entry -> its rule.
        makers: Bits of the layers that make channels.
    """

    def __init__(self, channels: Channels, rule: RuleOf, makers: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ran: list[str] = []
        self.rescaling = 0
        self._channels, self._rule, self._makers = channels, rule, makers
        self._known: dict[_Place, Known] = {}
        self._kept: dict[int, object] = {}  # storages, so that none is freed and its number given to another

    def tell(self, tensor: Tensor, known: Known) -> None:
        """Say what is known of a tensor that no operation made."""
        place = _place(tensor)
        if place is not None:
            self._kept.setdefault(place[0], tensor.untyped_storage())
            self._known[place] = known

    def known(self, tensor: Tensor) -> Known:
        """What is known of a tensor; of one from elsewhere only its shape."""
        shape = tuple(tensor.shape)
        nothing = Known(shape=shape, axes=(None,) * len(shape))
        return self._known.get(_place(tensor), nothing)  # type: ignore[arg-type]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and follow it."""
        kwargs = kwargs or {}
        arguments = _arguments(func, args, kwargs)
        known = {id(tensor): self.known(tensor) for tensor in tensors_in(list(arguments.values()))}
        result = func(*args, **kwargs)
        outputs = list(tensors_in([result]))
        name = func.overloadpacket.__name__
        self.ran.append(name)
        if len(self.ran) > MOST_OPERATIONS:
            raise TooLongError
        is_pointwise = torch.Tag.pointwise in func.tags and "out" not in kwargs
        operation = Operation(name=name.rstrip("_"), arguments=arguments, known=known, outputs=outputs)
        rule = self._rule(operation.name, is_pointwise=is_pointwise)
        self._take(operation, rule(self._channels, operation), writes=name.endswith("_"))
        return result

    def _take(self, operation: Operation, results: Sequence[Axes], *, writes: bool) -> None:
        near, every = self._origin(operation)
        is_weight = bool(operation.tensors) and all(known.is_weight for known in operation.tensors)
        for tensor, found in zip(operation.outputs, results, strict=True):
            shape = tuple(tensor.shape)
            axes = tuple(axis if size > 1 else None for axis, size in zip(found, shape, strict=True))
            known = Known(shape=shape, axes=axes, near=near, every=every, is_weight=is_weight)
            if writes:
                self._write(tensor, known)
            self.tell(tensor, known)

    def _write(self, tensor: Tensor, known: Known) -> None:
        """Where channels are written into a part of a tensor, the whole of it does not know of them."""
        before, place = self.known(tensor), _place(tensor)
        if place is None or tensor.numel() * tensor.element_size() >= tensor.untyped_storage().nbytes():
            return
        fresh = [
            new
            for old, new in zip(before.axes, known.axes, strict=True)
            if isinstance(new, np.ndarray) and not isinstance(old, np.ndarray)
        ]
        for axis in fresh:
            self._channels.fix(axis, "it is written into a part of a tensor")
        for other, about in self._known.items():
            if other[0] == place[0]:
                self._known[other] = replace(
                    about,
                    axes=tuple(None if axis is ANY and fresh else axis for axis in about.axes),
                    near=about.near | known.near,
                    every=about.every | known.every,
                    is_weight=False,
                )

    def _origin(self, operation: Operation) -> tuple[int, int]:
        known = operation.tensors
        every = _any_of(one.every for one in known)
        weights = _any_of(one.near for one in known if one.is_weight) & self._makers
        is_layer = weights and not all(one.is_weight for one in known) and operation.name in PRODUCTS
        if operation.name == "mul":
            self._note_rescaling([one for one in known if one.shape])
        return (weights if is_layer else _any_of(one.near for one in known)), every

    def _note_rescaling(self, factors: Sequence[Known]) -> None:
        """A factor rescales another one that it is computed from, as in squeeze-and-excitation."""
        if len(factors) != 2:
            return
        for factor, other in (factors, factors[::-1]):
            makers = other.near & self._makers
            if makers and not makers & ~factor.every and not factor.near & other.every:
                self.rescaling |= factor.near


PRODUCTS = {"convolution", "mm", "addmm", "bmm", "baddbmm", "linear", "mv", "addmv", "dot"}
"""Operations in which a weight makes new channels."""


def tensors_in(values: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among values and in lists among them, in order."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def opaque(module: nn.Module, follow: Follow, channels: Channels) -> None:
    """Let a module run without being followed: its inputs stay whole, and of its outputs nothing is known."""
    forward = module.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        inputs = [follow.known(tensor) for tensor in tensors_in([*args, *kwargs.values()])]
        for known in inputs:
            for axis in known.axes:
                if isinstance(axis, np.ndarray):
                    channels.fix(axis, f"it is read by {type(module).__name__}, whose sizes are fixed")
        with _disable_current_modes():
            result = forward(*args, **kwargs)
        near, every = _any_of(one.near for one in inputs), _any_of(one.every for one in inputs)
        for tensor in tensors_in([result]):
            shape = tuple(tensor.shape)
            follow.tell(tensor, Known(shape=shape, axes=(None,) * len(shape), near=near, every=every))
        return result

    module.forward = run


def _any_of(bits: Iterator[int] | Any) -> int:
    found = 0
    for one in bits:
        found |= one
    return found


def _arguments(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    wanted = func._schema.arguments
    given = dict(zip((argument.name for argument in wanted), args, strict=False)) | dict(kwargs)
    defaults = {one.name: one.default_value for one in wanted if one.has_default_value()}
    return {**defaults, **given}


def _place(tensor: Tensor) -> _Place | None:
    try:
        storage = tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # sparse, quantised
        return None
    return storage, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()
