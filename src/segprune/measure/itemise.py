"""The parameters and operations a network consists of, each with the sizes whose product it costs.

The only importer of fvcore.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate

_NORM_AND_ACTIVATION = """
    batch_norm group_norm layer_norm instance_norm dropout feature_dropout alpha_dropout feature_alpha_dropout
    relu leaky_relu prelu elu gelu silu mish sigmoid tanh softmax log_softmax softplus hardswish hardsigmoid
    hardtanh clamp
"""
_POOLING_AND_INTERPOLATION = """
    max_pool2d max_pool2d_with_indices max_unpool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d mean
    sum amax max upsample_nearest2d upsample_bilinear2d upsample_bicubic2d grid_sampler pixel_shuffle
"""
_ELEMENTWISE_AND_LAYOUT = """
    add sub rsub mul div pow sqrt rsqrt exp neg abs eq ne lt gt where cat stack pad constant_pad_nd
    reflection_pad2d roll flip repeat expand expand_as index index_select unflatten narrow copy zeros zeros_like
    ones ones_like full arange fill masked_fill gather scatter type_as view_as
    numpy_T embedding
"""
_FREE = [
    f"aten::{name}{ending}"
    for name in (_NORM_AND_ACTIVATION + _POOLING_AND_INTERPOLATION + _ELEMENTWISE_AND_LAYOUT).split()
    for ending in ("", "_")  # an operation in place has an underscore more
]

Sizes = tuple[int, ...]
_Rule = Callable[[Sequence[Any], Sequence[Any]], Sequence[Sequence[int]]]
"""Inputs and outputs of an operation in the trace -> sizes; the operation costs the sum of their products."""

_log = logging.getLogger(__name__)
_TOLD: set[tuple[object, ...]] = set()
"""Networks and operations that were named already: a run counts several times."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A parameter, or what an operation costs.

    Attributes:
        module: Dotted name of the module that holds the parameter or runs the operation; empty for the network.
        name: Of the parameter or the operation in that module.
        sizes: The product of them is what it costs. Those of a convolution or linear layer end with the shape of
            its weight.
        reads_image: Whether the operation is the first that multiplies on the way from the image.
    """

    module: str
    name: str
    sizes: Sizes
    reads_image: bool = False

    @property
    def cost(self) -> int:
        """Parameters, or multiply-adds."""
        return math.prod(self.sizes)

    def __str__(self) -> str:
        return f"{self.module}.{self.name}".lstrip(".")


@dataclass(frozen=True, kw_only=True)
class Items:
    """All that the logits of one image are computed from.

    Attributes:
        params: One per parameter.
        macs: Of the operations that multiply and add, in the order they run.
        idle: Names of the parameters that the logits are not computed from; they are not among ``params``.
    """

    params: tuple[Item, ...]
    macs: tuple[Item, ...]
    idle: tuple[str, ...]


def itemise(net: SegmentationNet, size_hw: tuple[int, int]) -> Items:
    """Trace ``net.forward`` on one image in evaluation; the network stays as it is.

    Operations whose results do not reach the logits are not in the trace. Those that are neither counted nor
    known to be free are logged once.

    Args:
        net: On any device; the forward pass runs there.
        size_hw: (H, W) of the image in px.
    """
    # A copy, because fvcore leaves its hooks behind when a forward pass fails.
    traced = duplicate(net).eval()
    image = torch.zeros(1, net.bands, *size_hw, dtype=net.mean.dtype, device=net.mean.device)
    ledger = _Ledger()
    with warnings.catch_warnings(), torch.no_grad(), _SizesAreInts(), _as_outside():
        warnings.simplefilter("ignore")  # deprecated torch.jit, at the import and in the trace
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(traced, image).clear_op_handles()
        # without the clearing fvcore would count operations that have no rule here by rules of its own
        analysis.set_op_handle(**{name: ledger.handle(rule) for name, rule in _RULES.items()})
        analysis.tracer_warnings("none")
        analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        analysis.total()
        unknown = analysis.unsupported_ops()
    if unknown and (line := (type(net), *sorted(unknown))) not in _TOLD:
        _TOLD.add(line)
        _log.warning("%s: not in the MACs count: %s", type(net).__name__, ", ".join(sorted(unknown)))
    parameters, read = dict(traced.named_parameters()), ledger.read(traced)
    return Items(
        params=tuple(_parameter(name, tensor) for name, tensor in parameters.items() if name in read),
        macs=tuple(ledger.items),
        idle=tuple(name for name in parameters if name not in read),
    )


def _parameter(name: str, tensor: Tensor) -> Item:
    module, _, own = name.rpartition(".")
    return Item(module=module, name=own, sizes=tuple(tensor.shape))


class _Ledger:
    """Writes down the items of a trace while fvcore goes through it."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._is_read: list[bool] = []

    def handle(self, rule: _Rule) -> Callable[[Sequence[Any], Sequence[Any]], int]:
        """What fvcore calls for every operation of a kind."""

        def count(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
            node = outputs[0].node()
            # read here, since the trace does not outlive the analysis
            self._is_read = self._is_read or [bool(value.uses()) for value in node.owningBlock().inputs()]
            module, name = node.scopeName().split("/")[-1], node.kind().removeprefix("aten::").strip("_")
            found = rule(inputs, outputs)
            first = bool(found) and _reads_image(inputs[0])
            items = [Item(module=module, name=name, sizes=tuple(sizes), reads_image=first) for sizes in found]
            self.items += items
            return sum(item.cost for item in items)

        return count

    def read(self, net: SegmentationNet) -> set[str]:
        """Names of those entries of the traced network's state dict that an operation reads."""
        names: dict[int, str] = {}  # a shared tensor has its first name
        for name, tensor in net.state_dict(keep_vars=True).items():
            names.setdefault(id(tensor), name)
        # the inputs of the trace are the image and the entries
        return {name for name, is_read in zip(names.values(), self._is_read[1:], strict=False) if is_read}


def _reads_image(value: Any) -> bool:
    """Whether no operation that multiplies lies between the image, the first input of the trace, and a value."""
    behind, seen, reaches = [value], set[str](), False
    while behind:
        one = behind.pop()
        node = one.node()
        if node.kind() == "prim::Param":
            reaches |= one.debugName() == next(node.outputs()).debugName()
        elif node.kind() in _RULES and node.kind() not in _FREE:
            return False
        elif one.debugName() not in seen:
            seen.add(one.debugName())
            behind += node.inputs()
    return reaches


def _shape(value: Any) -> list[int]:
    return list(value.type().sizes())


def _convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Sizes]:
    """Weight (C_out, C_in / groups, kh, kw), output (N, C_out, H, W); transposed, it meets all of the input."""
    is_transposed = inputs[6].toIValue()
    batch, _, *places = _shape(inputs[0] if is_transposed else outputs[0])
    return [(batch, *places, *_shape(inputs[1]))]


def _convolution_mode(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Sizes]:
    """With ``padding="same"``; never transposed."""
    batch, _, *places = _shape(outputs[0])
    return [(batch, *places, *_shape(inputs[1]))]


def _linear(inputs: Sequence[Any], _: Sequence[Any]) -> list[Sizes]:
    """Input (..., C_in), weight (C_out, C_in)."""
    return [(*_shape(inputs[0])[:-1], *_shape(inputs[1]))]


def _product(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Sizes]:
    """(..., n, k) x (..., k, m): k multiply-adds for each number of the result."""
    return [(*_shape(outputs[0]), _shape(inputs[0])[-1])]


def _added_product(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Sizes]:
    return _product(inputs[1:], outputs)


def _attention(inputs: Sequence[Any], _: Sequence[Any]) -> list[Sizes]:
    """Query (..., L, E), key (..., S, E), value (..., S, V): L S E for the weights, L S V for the result."""
    query, key, value = (_shape(operand) for operand in inputs[:3])
    return [(*query[:-1], key[-2], query[-1]), (*query[:-1], key[-2], value[-1])]


def _einsum(inputs: Sequence[Any], _: Sequence[Any]) -> list[Sizes]:
    """Factors are taken from left to right; each costs one multiply-add per combination of their indices.

    fvcore's own rule rounds to four digits.
    """
    left, arrow, result = inputs[0].toIValue().replace(" ", "").partition("->")
    terms = left.split(",")
    shapes = [_shape(operand) for operand in inputs[1].node().inputs()]
    factors = [_labels(term, len(shape)) for term, shape in zip(terms, shapes, strict=True)]
    size: dict[str, int] = {}
    for labels, shape in zip(factors, shapes, strict=True):
        size.update({name: max(n, size.get(name, 1)) for name, n in zip(labels, shape, strict=True)})
    every = [name for labels in factors for name in labels]
    hidden = [name for name in size if name.isdigit()]
    kept = {*result, *hidden} if arrow else {*hidden, *(name for name in every if every.count(name) == 1)}
    found, product = list[Sizes](), factors[0]
    for number, labels in enumerate(factors[1:], start=2):
        together = list(dict.fromkeys([*product, *labels]))
        found.append(tuple(size[name] for name in together))
        later = kept.union(*factors[number:])
        product = [name for name in together if name in later]
    return found


def _labels(term: str, rank: int) -> list[str]:
    """One name per dimension; those under an ellipsis are numbered from the last one."""
    before, _, after = term.partition("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(str(number) for number in range(hidden, 0, -1)), *after]


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_FREE, lambda _inputs, _outputs: []),
    "aten::_convolution": _convolution,
    "aten::_convolution_mode": _convolution_mode,
    "aten::linear": _linear,
    "aten::einsum": _einsum,
    "aten::scaled_dot_product_attention": _attention,
    # fvcore's own counts the left factor's batch only, too few when that one is broadcast.
    **{f"aten::{name}": _product for name in ("matmul", "linalg_matmul", "mm", "bmm", "mv", "dot", "inner")},
    **{
        f"aten::{name}{ending}": _added_product
        for name in ("addmm", "baddbmm", "addmv")
        for ending in ("", "_")
    },
}


@contextmanager
def _as_outside() -> Iterator[None]:
    """A forward that asks whether it is traced is told that it is not, since it would take sizes for tensors."""
    jit: Any = torch.jit
    is_tracing = jit.is_tracing
    jit.is_tracing = lambda: False
    try:
        yield
    finally:
        jit.is_tracing = is_tracing


class _SizesAreInts(TorchFunctionMode):
    """Tensor sizes are plain ints, as outside of a trace.

    The trace has one fixed size; sizes as traced tensors fail in ``max_unpool2d``, which checks them as
    numbers.
    """

    _READS = (Tensor.size, getattr_static(Tensor, "shape").__get__)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in self._READS:
            return result
        return int(result) if isinstance(result, Tensor) else torch.Size(int(size) for size in result)
