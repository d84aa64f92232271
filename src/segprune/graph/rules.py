"""What each operation makes of channels; one that has no rule keeps all that it reads whole."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segprune.graph.channels import FIXED, Channels, Labels
from segprune.graph.follow import ANY, Axes, Axis, Known, Operation, Rule

BESIDE_FIXED = "it is joined with values of a fixed size"
LARGEST_FLATTENED = 1 << 20
"""Entries of axes that become one; only a linear layer behind them could read so many."""


def rule_of(name: str, *, is_pointwise: bool) -> Rule:
    """The rule of an operation.

    Args:
        name: In ``aten``, without an underscore at its end.
        is_pointwise: Whether torch says that every entry of its result depends on the entries at one place.
    """
    if name in RULES:
        return RULES[name]
    if is_pointwise:
        return pointwise
    return _spatial if _SPATIAL.match(name) else unknown


def unknown(channels: Channels, op: Operation) -> list[Axes]:
    """All channels that it reads stay."""
    for known in op.tensors:
        _fix(channels, known.axes, f"{op.name} reads it")
    return [(None,) * output.ndim for output in op.outputs]


def pointwise(channels: Channels, op: Operation) -> list[Axes]:
    """Axes are matched from the last one; one of size 1 fits any."""
    return [_broadcast(channels, op.tensors, output.ndim) for output in op.outputs]


def meet(channels: Channels, one: Axis, other: Axis, reason: str = BESIDE_FIXED) -> Axis:
    """Two axes whose entries come together one by one."""
    if one is ANY or other is ANY:
        return one if other is ANY else other
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        channels.unite(one, other, reason)
        return one
    for axis in (one, other):
        if isinstance(axis, np.ndarray):
            channels.fix(axis, reason)
            return axis
    return None


def _broadcast(channels: Channels, known: Sequence[Known], ndim: int) -> Axes:
    axes: list[Axis] = [None] * ndim
    sized = [False] * ndim
    for one in known:
        for place, (size, axis) in enumerate(
            zip(one.shape, one.axes, strict=True), start=ndim - len(one.shape)
        ):
            if size > 1 and place >= 0:
                axes[place] = meet(channels, axes[place], axis) if sized[place] else axis
                sized[place] = True
    return tuple(axes)


def _fix(channels: Channels, axes: Sequence[Axis], reason: str) -> None:
    for axis in axes:
        if isinstance(axis, np.ndarray):
            channels.fix(axis, reason)


def _made(_: Channels, op: Operation) -> list[Axes]:
    """Entries that are all alike, or drawn for any size."""
    return [tuple[Axis, ...]([ANY] * output.ndim) for output in op.outputs]


def _same(_: Channels, op: Operation) -> list[Axes]:
    return [op.tensors[0].axes for _ in op.outputs]


# --- layers


def _convolution(channels: Channels, op: Operation) -> list[Axes]:
    x, weight, bias = op.of("input"), op.of("weight"), op.maybe("bias")
    groups, is_transposed = op.arguments["groups"], op.arguments["transposed"]
    _fix(channels, [*x.axes[2:], *weight.axes[2:]], "a convolution slides over it")
    reads, makes = weight.axes[1 - is_transposed], weight.axes[int(is_transposed)]
    out = makes
    if groups == 1:
        meet(channels, x.axes[1], reads, "it is read by a weight of a fixed size")
    elif groups == x.shape[1] == op.outputs[0].shape[1]:
        out = meet(channels, x.axes[1], weight.axes[0])
    else:
        _fix(channels, [x.axes[1], *weight.axes[:2]], "it is part of a convolution in groups")
        out = weight.axes[0] if not is_transposed else None
    if bias:
        out = meet(channels, out, bias.axes[0])
    return [(x.axes[0], out, *[None] * (op.outputs[0].ndim - 2))]


def _product(channels: Channels, op: Operation) -> list[Axes]:
    """(..., n, k) x (..., k, m), with something added or not."""
    first, second = (op.of(name) for name in _FACTORS[op.name])
    meet(channels, first.axes[-1], second.axes[-2 if len(second.shape) > 1 else -1])
    batch = [meet(channels, a, b) for a, b in zip(first.axes[:-2], second.axes[:-2], strict=True)]
    rows = first.axes[-2:-1] if len(first.shape) > 1 else ()
    axes: Axes = (*batch, *rows, *(second.axes[-1:] if len(second.shape) > 1 else ()))
    added = op.maybe("self") if op.name in ("addmm", "baddbmm", "addmv") else None
    if added:
        shape = tuple(op.outputs[0].shape)
        axes = _broadcast(channels, [Known(shape=shape, axes=axes), added], len(shape))
    return [axes]


_FACTORS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "mv": ("self", "vec"),
    "dot": ("self", "tensor"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "addmv": ("mat", "vec"),
}


def _linear(channels: Channels, op: Operation) -> list[Axes]:
    x, weight, bias = op.of("input"), op.of("weight"), op.maybe("bias")
    meet(channels, x.axes[-1], weight.axes[-1])
    out = weight.axes[0] if len(weight.shape) > 1 else None
    return [(*x.axes[:-1], meet(channels, out, bias.axes[0]) if bias else out)]


def _norm_of_each(channels: Channels, op: Operation) -> list[Axes]:
    x = op.of("input", "self")
    out = x.axes[1]
    for name in ("weight", "bias", "running_mean", "running_var"):
        if (known := op.maybe(name)) and known.shape:
            out = meet(channels, out, known.axes[0])
    _fix(channels, x.axes[2:], "a norm takes the mean over it")
    first: Axes = (x.axes[0], out, *[None] * (len(x.shape) - 2))
    return [first, *[(None,) * output.ndim for output in op.outputs[1:]]]


def _norm_of_several(channels: Channels, op: Operation) -> list[Axes]:
    x = op.of("input", "self")
    last = "normalized_shape" in op.arguments
    axes = x.axes[-len(op.arguments["normalized_shape"]) :] if last else x.axes[1:]
    reason = "a layer norm takes the mean over it" if last else "a group norm takes the mean over it"
    _fix(channels, axes, reason)
    for name in ("weight", "bias"):
        if known := op.maybe(name):
            _fix(channels, known.axes, reason)
    return [x.axes, *[(None,) * output.ndim for output in op.outputs[1:]]]


def _attention(channels: Channels, op: Operation) -> list[Axes]:
    """Query (..., L, E), key (..., S, E), value (..., S, V)."""
    query, key, value = (op.of(name) for name in ("query", "key", "value"))
    meet(channels, query.axes[-1], key.axes[-1])
    if op.arguments.get("scale") is None:
        _fix(
            channels,
            [query.axes[-1], key.axes[-1]],
            "the scale of an attention depends on how many there are",
        )
    _fix(
        channels, [*query.axes[:-1], *key.axes[:-1], *value.axes[:-1]], "an attention takes the mean over it"
    )
    rest: list[Axes] = [(None,) * output.ndim for output in op.outputs[1:]]
    return [(*query.axes[:-1], value.axes[-1]), *rest]


# --- pooling, interpolation, padding: along the last axes


def _spatial(channels: Channels, op: Operation) -> list[Axes]:
    """Works along the last axes, as many as its name says; tensors that come together have the same channels."""
    count = int(found[1]) if (found := re.search(r"([123])d", op.name)) else 2
    known = [one for one in op.tensors if len(one.shape) == len(op.tensors[0].shape)]
    for one in op.tensors:
        _fix(channels, one.axes[-count:], f"{op.name} works along it")
    ahead = [Known(shape=one.shape[:-count], axes=one.axes[:-count]) for one in known]
    axes = _broadcast(channels, ahead, len(ahead[0].shape))
    return [(*axes, *[None] * count) for _ in op.outputs]


_SPATIAL = re.compile(
    r"_?(max_pool|avg_pool|adaptive_avg_pool|adaptive_max_pool|fractional_max_pool|upsample_|max_unpool|"
    r"reflection_pad|replication_pad|lp_pool|mkldnn_max_pool)"
)


def _grid_sampler(channels: Channels, op: Operation) -> list[Axes]:
    x, grid = op.of("input"), op.of("grid")
    _fix(channels, [*x.axes[2:], *grid.axes], f"{op.name} works along it")
    return [(*x.axes[:2], *[None] * (op.outputs[0].ndim - 2))]


def _pad(channels: Channels, op: Operation) -> list[Axes]:
    x = op.tensors[0]
    axes, pad = list(x.axes), op.arguments["pad"]
    for nth in range(len(pad) // 2):
        before, after, place = pad[2 * nth], pad[2 * nth + 1], len(axes) - 1 - nth
        axis = axes[place]
        if not before and not after:
            continue
        if isinstance(axis, np.ndarray) and min(before, after) >= 0 and not op.arguments.get("value"):
            axes[place] = np.pad(axis, (before, after), constant_values=FIXED)
        else:
            _fix(channels, [axis], "it is padded")
            axes[place] = None
    return [tuple(axes)]


# --- layout


def _reshape(channels: Channels, op: Operation) -> list[Axes]:
    x = op.tensors[0]
    return [reshaped(channels, x, tuple(output.shape)) for output in op.outputs]


def reshaped(channels: Channels, x: Known, shape: tuple[int, ...]) -> Axes:
    """Axes of a view in another shape: axes that split keep the channels along the last one."""
    axes: list[Axis] = [None] * len(shape)
    old = [place for place, size in enumerate(x.shape) if size != 1]
    new = [place for place, size in enumerate(shape) if size != 1]
    if math.prod(x.shape) == 0:
        _fix(channels, x.axes, "it is empty")
        return tuple(axes)
    while old:
        ours, theirs = [old.pop(0)], [new.pop(0)]
        while (mine := math.prod(x.shape[i] for i in ours)) != (yours := math.prod(shape[i] for i in theirs)):
            if mine < yours:
                ours.append(old.pop(0))
            else:
                theirs.append(new.pop(0))
        parts = [x.axes[i] for i in ours]
        found = _joined(channels, [x.shape[i] for i in ours], parts, [shape[i] for i in theirs])
        for place, axis in zip(theirs, found, strict=True):
            axes[place] = axis
    return tuple(axes)


def _joined(channels: Channels, sizes: list[int], axes: list[Axis], shape: list[int]) -> list[Axis]:
    labelled = [nth for nth, axis in enumerate(axes) if isinstance(axis, np.ndarray)]
    if len(sizes) == len(shape) == 1:
        return axes
    if not labelled:
        return [ANY if all(axis is ANY for axis in axes) else None] * len(shape)
    if len(labelled) > 1 or math.prod(sizes) > LARGEST_FLATTENED:
        _fix(channels, axes, "it is flattened together with others")
        return [None] * len(shape)
    (nth,) = labelled
    labels = np.asarray(axes[nth]).reshape([-1 if i == nth else 1 for i in range(len(sizes))])
    return _split(channels, np.broadcast_to(labels, sizes).reshape(shape))


def _split(channels: Channels, labels: Labels) -> list[Axis]:
    """Labels over several axes -> of the last one along which they vary, the others keep their size."""
    varying = [axis for axis in range(labels.ndim) if (labels != labels.take([0], axis)).any()]
    if not varying:
        return [None] * labels.ndim
    last = varying[-1]
    rows = np.moveaxis(labels, last, -1).reshape(-1, labels.shape[last])
    for row in rows[1:]:
        channels.unite(rows[0], row, BESIDE_FIXED)
    return [rows[0].copy() if axis == last else None for axis in range(labels.ndim)]


def _permuted(order: Callable[[Operation, int], Sequence[int]]) -> Rule:
    def rule(_: Channels, op: Operation) -> list[Axes]:
        x = op.tensors[0]
        return [tuple(x.axes[place] for place in order(op, len(x.shape)))]

    return rule


def _swapped(op: Operation, ndim: int) -> list[int]:
    order = list(range(ndim))
    one, other = op.arguments.get("dim0", 0), op.arguments.get("dim1", -1)
    if ndim > 1:
        order[one], order[other] = order[other], order[one]
    return order


def _expand(_: Channels, op: Operation) -> list[Axes]:
    x, shape = op.tensors[0], op.outputs[0].shape
    ahead = len(shape) - len(x.shape)
    axes: list[Axis] = [ANY] * ahead
    for axis, size, new in zip(x.axes, x.shape, shape[ahead:], strict=True):
        axes.append(axis if size == new else ANY)
    return [tuple(axes)]


def _repeat(_: Channels, op: Operation) -> list[Axes]:
    x, times = op.tensors[0], op.arguments["repeats"]
    ahead = len(times) - len(x.shape)
    axes: list[Axis] = [ANY] * ahead
    for axis, size, count in zip(x.axes, x.shape, times[ahead:], strict=True):
        if isinstance(axis, np.ndarray):
            axes.append(np.tile(axis, count))
        else:
            axes.append(axis if count == 1 or size > 1 else ANY)
    return [tuple(axes)]


# --- parts


def _slice(channels: Channels, op: Operation) -> list[Axes]:
    x, place = op.tensors[0], op.arguments["dim"]
    axes, start, end = list(x.axes), op.arguments.get("start"), op.arguments.get("end")
    axis = axes[place]
    if isinstance(axis, np.ndarray) and op.outputs[0].shape[place] != x.shape[place]:
        channels.fix(axis, "it is split into parts")
        axes[place] = axis[slice(start, end, op.arguments.get("step", 1))]
    return [tuple(axes)]


def _parts(channels: Channels, op: Operation) -> list[Axes]:
    x, place = op.tensors[0], op.arguments.get("dim", 0)
    axis, results, start = x.axes[place], list[Axes](), 0
    if isinstance(axis, np.ndarray):
        channels.fix(axis, "it is split into parts")
    for output in op.outputs:
        axes, end = list(x.axes), start + output.shape[place]
        axes[place] = axis[start:end] if isinstance(axis, np.ndarray) else axis
        results.append(tuple(axes))
        start = end
    return results


def _taken(channels: Channels, op: Operation) -> list[Axes]:
    """One entry along an axis, or each entry by itself."""
    x, place = op.tensors[0], op.arguments.get("dim", 0) % len(op.tensors[0].shape)
    _fix(channels, [x.axes[place]], "it is split into parts")
    return [(*x.axes[:place], *x.axes[place + 1 :]) for _ in op.outputs]


def _cat(channels: Channels, op: Operation) -> list[Axes]:
    ndim = op.outputs[0].ndim
    parts = [one for one in op.tensors if len(one.shape) == ndim]  # torch lets an empty list of numbers pass
    place = op.arguments.get("dim", 0) % ndim
    others = [_without(one, place) for one in parts]
    axes = list(_broadcast(channels, others, ndim))
    along = [one.axes[place] for one in parts]
    axes[place] = ANY if all(axis is ANY for axis in along) else None
    if any(isinstance(axis, np.ndarray) for axis in along):
        axes[place] = np.concatenate(
            [
                axis if isinstance(axis, np.ndarray) else np.full(one.shape[place], FIXED)
                for axis, one in zip(along, parts, strict=True)
            ]
        )
    return [tuple(axes)]


def _without(known: Known, place: int) -> Known:
    """The same with size 1 along one axis."""
    shape = tuple(1 if nth == place else size for nth, size in enumerate(known.shape))
    return Known(shape=shape, axes=known.axes)


def _stack(channels: Channels, op: Operation) -> list[Axes]:
    ndim = op.outputs[0].ndim
    place, axes = op.arguments.get("dim", 0) % ndim, list(_broadcast(channels, op.tensors, ndim - 1))
    return [(*axes[:place], None, *axes[place:])]


# --- along axes


def _along(channels: Channels, op: Operation) -> list[Axes]:
    """Every entry of the result depends on all entries along an axis, which stays."""
    x = op.tensors[0]
    axes = list(x.axes)
    for place in _places(op, len(axes)):
        _fix(channels, [axes[place]], f"{op.name.strip('_')} works along it")
        axes[place] = None
    return [tuple(axes) for _ in op.outputs]


def _flip(_: Channels, op: Operation) -> list[Axes]:
    axes = list(op.tensors[0].axes)
    for place in _places(op, len(axes)):
        axis = axes[place]
        axes[place] = axis[::-1] if isinstance(axis, np.ndarray) else axis
    return [tuple(axes)]


def _reduction(channels: Channels, op: Operation) -> list[Axes]:
    """Sums over channels are the same without those that are zero; other reductions keep them."""
    x = op.tensors[0]
    places = set(_places(op, len(x.shape)))
    if op.name not in _SUMS:
        _fix(channels, [x.axes[place] for place in places], f"{op.name} works along it")
    left: Axes = tuple(axis for place, axis in enumerate(x.axes) if place not in places)
    kept: Axes = tuple(None if place in places else axis for place, axis in enumerate(x.axes))
    return [kept if output.ndim == len(x.shape) else left for output in op.outputs]


_SUMS = {"sum", "linalg_vector_norm"}


def _places(op: Operation, ndim: int) -> list[int]:
    """The axes that an operation works along; all where it names none."""
    given: Any = op.arguments.get("dim", op.arguments.get("dims"))
    if given is None or given == []:
        return list(range(ndim))
    return [place % ndim for place in ([given] if isinstance(given, int) else given)] if ndim else []


def _index(channels: Channels, op: Operation) -> list[Axes]:
    """By one list of numbers along one axis."""
    x = op.tensors[0]
    indices = op.arguments.get("indices", [None] * op.arguments.get("dim", 0) + [op.arguments.get("index")])
    places = [place for place, index in enumerate(indices) if index is not None]
    if len(places) != 1 or op.outputs[0].ndim != len(x.shape) or indices[places[0]].ndim != 1:
        return unknown(channels, op)
    _fix(channels, [x.axes[places[0]]], "it is picked by number")
    return [tuple(None if place == places[0] else axis for place, axis in enumerate(x.axes))]


def _each(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_each(_convolution, "convolution"),
    **_each(_product, " ".join(_FACTORS)),
    **_each(_linear, "linear"),
    **_each(_norm_of_each, "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit"),
    **_each(
        _norm_of_each, "_native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update"
    ),
    **_each(_norm_of_several, "native_layer_norm native_group_norm _fused_rms_norm"),
    **_each(_attention, "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention"),
    **_each(_attention, "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention"),
    **_each(_grid_sampler, "grid_sampler_2d grid_sampler_3d"),
    **_each(_pad, "constant_pad_nd"),
    **_each(
        pointwise, "copy clone detach alias _to_copy contiguous lift_fresh lift_fresh_copy positive where"
    ),
    **_each(
        pointwise,
        "masked_fill native_dropout dropout _prelu_kernel lerp zero fill hardswish hardsigmoid hardtanh",
    ),
    **_each(
        pointwise,
        "relu relu6 leaky_relu elu celu selu gelu silu mish softplus softshrink hardshrink threshold",
    ),
    **_each(pointwise, "log_sigmoid log_sigmoid_forward rrelu rrelu_with_noise logit nan_to_num"),
    **_each(_same, "bernoulli normal uniform exponential random"),
    **_each(
        _made, "zeros ones full empty new_zeros new_ones new_full new_empty zeros_like ones_like full_like"
    ),
    **_each(
        _made, "empty_like rand randn rand_like randn_like scalar_tensor empty_strided new_empty_strided"
    ),
    **_each(_reshape, "view _unsafe_view reshape _reshape_alias squeeze unsqueeze"),
    **_each(_permuted(_swapped), "transpose t swapaxes"),
    **_each(_permuted(lambda op, ndim: [place % ndim for place in op.arguments["dims"]]), "permute"),
    **_each(_expand, "expand"),
    **_each(_repeat, "repeat"),
    **_each(_slice, "slice"),
    **_each(_parts, "split unsafe_split split_with_sizes unsafe_split_with_sizes chunk unsafe_chunk"),
    **_each(_taken, "select unbind"),
    **_each(_cat, "cat"),
    **_each(_stack, "stack"),
    **_each(
        _along,
        "_softmax _log_softmax softmax log_softmax _safe_softmax cumsum cumprod sort argsort topk roll",
    ),
    **_each(_flip, "flip"),
    **_each(
        _reduction,
        "mean sum amax amin max min var std var_mean std_mean prod logsumexp argmax argmin any all",
    ),
    **_each(_reduction, "linalg_vector_norm norm"),
    **_each(_index, "index index_select"),
}
