"""Parameters and multiply-adds of a network. The only importer of fvcore."""

import copy
import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segprune.model.contract import SegmentationNet

MACS_RULE = (
    "MACs: multiply-adds of convolutions, transposed convolutions, linear layers and matrix products, of one "
    "image in inference. Norms (they fold away on deployment), activations, pooling, interpolation, "
    "elementwise operations and biases are not counted."
)

_NORM_AND_ACTIVATION = """
    batch_norm group_norm layer_norm instance_norm dropout dropout_ feature_dropout relu relu_ leaky_relu
    leaky_relu_ prelu elu elu_ gelu silu silu_ mish mish_ sigmoid sigmoid_ tanh softmax log_softmax softplus
    hardswish hardswish_ hardsigmoid hardsigmoid_ hardtanh hardtanh_ clamp clamp_
"""
_POOLING_AND_INTERPOLATION = """
    max_pool2d max_pool2d_with_indices max_unpool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d mean
    sum amax max upsample_nearest2d upsample_bilinear2d upsample_bicubic2d grid_sampler pixel_shuffle
"""
_ELEMENTWISE_AND_LAYOUT = """
    add add_ sub sub_ rsub mul mul_ div div_ pow sqrt rsqrt exp neg abs eq ne lt gt where cat stack pad
    constant_pad_nd reflection_pad2d roll flip repeat expand expand_as index index_select unflatten narrow
    copy_ zeros zeros_like ones ones_like full arange fill_ masked_fill gather scatter
    scatter_ type_as
"""
_FREE = tuple(
    f"aten::{name}"
    for name in (_NORM_AND_ACTIVATION + _POOLING_AND_INTERPOLATION + _ELEMENTWISE_AND_LAYOUT).split()
)

_Handle = Callable[[Sequence[Any], Sequence[Any]], int]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network costs in inference.

    Attributes:
        params: Parameters, without the submodules that only training uses.
        macs: Multiply-adds per image, by ``MACS_RULE``.
    """

    params: int
    macs: int


def cost(net: SegmentationNet, size_hw: tuple[int, int]) -> Cost:
    """Count what ``net.forward`` costs for one image; the network stays as it is.

    Args:
        net: On any device; the forward pass of the count runs there.
        size_hw: (H, W) of the image in px.
    """
    return Cost(params=_params(net), macs=_macs(net, size_hw))


def file_size_bytes(net: SegmentationNet) -> int:
    """Size of the deployed network's weights and buffers as a safetensors file."""
    from safetensors.torch import save

    training_only = tuple(f"{name}." for name in net.training_only)
    deployed = {
        name: tensor.contiguous()
        for name, tensor in net.state_dict().items()
        if not name.startswith(training_only)
    }
    return len(save(deployed))


def _params(net: SegmentationNet) -> int:
    training_only = {id(p) for name in net.training_only for p in net.get_submodule(name).parameters()}
    return sum(p.numel() for p in net.parameters() if id(p) not in training_only)


def _macs(net: SegmentationNet, size_hw: tuple[int, int]) -> int:
    """Multiply-adds of one image; operations that are neither counted nor known to be free are logged."""
    # A copy, because fvcore leaves its hooks behind when a forward pass fails.
    traced = copy.deepcopy(net).eval()
    image = torch.zeros(1, 3, *size_hw, dtype=net.mean.dtype, device=net.mean.device)
    with warnings.catch_warnings(), torch.no_grad(), _SizesAreInts():
        warnings.simplefilter("ignore")  # deprecated torch.jit, at the import and in the trace
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(traced, image).clear_op_handles()
        # fvcore keeps a default handle that is set to None: the norms would be counted without the clearing.
        analysis.set_op_handle(**_handles(), **dict.fromkeys(_FREE))
        analysis.tracer_warnings("none")
        analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        total = int(analysis.total())
        unknown = analysis.unsupported_ops()
    if unknown:
        _log.warning("%s: not in the MACs count: %s", type(net).__name__, ", ".join(sorted(unknown)))
    return total


def _handles() -> Mapping[str, _Handle]:
    from fvcore.nn.jit_handles import addmm_flop_jit, conv_flop_jit, einsum_flop_jit, linear_flop_jit

    return {
        "aten::_convolution": lambda inputs, outputs: sum(conv_flop_jit(inputs, outputs).values()),
        "aten::_convolution_mode": _convolution_same,
        "aten::linear": linear_flop_jit,
        "aten::addmm": addmm_flop_jit,
        "aten::einsum": einsum_flop_jit,
        # fvcore's own counts the left factor's batch only, too few when that one is broadcast.
        **dict.fromkeys(("aten::matmul", "aten::mm", "aten::bmm"), _product),
        "aten::baddbmm": lambda inputs, outputs: _product(inputs[1:], outputs),
        "aten::scaled_dot_product_attention": _attention,
    }


def _shape(value: Any) -> list[int]:
    return list(value.type().sizes())


def _product(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """(..., n, k) x (..., k, m): k multiply-adds for each number of the result."""
    return math.prod(_shape(outputs[0])) * _shape(inputs[0])[-1]


def _convolution_same(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """With ``padding="same"``: weight (C_out, C_in / groups, kh, kw), output (N, C_out, H, W)."""
    batch, _, *size = _shape(outputs[0])
    return batch * math.prod(_shape(inputs[1])) * math.prod(size)


def _attention(inputs: Sequence[Any], _: Sequence[Any]) -> int:
    """Query (..., L, E), key (..., S, E), value (..., S, V): L S E for the weights, L S V for the result."""
    query, key, value = (_shape(operand) for operand in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


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
