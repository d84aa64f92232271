"""Which entries of which tensors of a network belong to one channel: all that runs is followed once."""

import copy
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.graph.channels import Channels, Labels
from segprune.graph.follow import MOST_OPERATIONS, Axis, Follow, Known, TooLongError, opaque, tensors_in
from segprune.graph.layers import Conv, Norm, makes_channels
from segprune.graph.rules import meet, rule_of
from segprune.model.contract import SegmentationNet
from segprune.shortage import shortage

log = logging.getLogger(__name__)

TRACE_SIZE_HW = (64, 64)
"""(H, W) in px where no other size is asked for."""
LAYER_TENSORS = {"weight": 2, "bias": 1, "running_mean": 1, "running_var": 1}
"""Tensors of the layers of ``LAYERS`` that have channels, and along how many axes at most."""
LAYERS = (Conv, nn.Linear, Norm, nn.PReLU)
LOGITS = "it makes the class logits"
FIXED_MODULES = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""Modules that check sizes which they were made for."""


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """The channels of a network.

    Attributes:
        units: Name of a parameter or buffer -> for each axis the unit of every entry, None where it has none.
            Entries of one unit can only be removed together.
        bare: Name of a norm without any tensor -> the units that it passes on.
        reasons: Unit that stays -> why.
        reaching: Names of the layers that logits of training or evaluation are computed from.
        rescaling: Names of the layers that only rescale what others make: they make a factor that is computed from
            the other factor.
        operations: Digest of all that ran, in order.
    """

    units: Mapping[str, tuple[Labels | None, ...]]
    bare: Mapping[str, Labels]
    reasons: Mapping[int, str]
    reaching: frozenset[str]
    rescaling: frozenset[str]
    operations: str

    def of(self, tensor: str, axis: int) -> Labels | None:
        """The units along an axis of a tensor; None where it has none or there is no such tensor."""
        axes = self.units.get(tensor, ())
        return axes[axis] if axis < len(axes) else None


def wiring(net: SegmentationNet, size_hw: tuple[int, int] = TRACE_SIZE_HW) -> Wiring:
    """Follow the channels through all that the network runs on images of a size, in evaluation and in training.

    It is run on tensors without numbers, which costs neither memory nor arithmetic. A network that looks at
    numbers, or has tensors that are neither parameters nor buffers, is run on noise, on the CPU. The network stays
    as it is.

    Raises:
        ConfigError: It cannot run on images of this size, or runs too many operations.
    """
    try:
        return _followed(net, size_hw, torch.device("meta"))
    except TooLongError:
        return _shorter(net, size_hw)
    except Exception as error:  # noqa: BLE001 - whatever a foreign forward raises on tensors without numbers
        try:
            found = _followed(net, size_hw, torch.device("cpu"))
        except TooLongError:
            return _shorter(net, size_hw)
        except Exception as failure:
            if shortage(failure, lambda _: None):
                raise
            raise ConfigError(
                f"model: {type(net).__name__} cannot run on images of {list(size_hw)} px (dataset.size_hw): "
                f"{type(failure).__name__}: {str(failure).partition(chr(10))[0]}."
            ) from failure
        log.debug("%s looks at numbers (%s)", type(net).__name__, str(error).partition("\n")[0])
        return found


def _shorter(net: SegmentationNet, size_hw: tuple[int, int]) -> Wiring:
    """What a loop over positions does is the same for fewer of them."""
    if size_hw == TRACE_SIZE_HW:
        raise ConfigError(
            f"model: {type(net).__name__} runs more than {MOST_OPERATIONS} operations on one image of "
            f"{list(size_hw)} px, too many to follow its channels through. A loop over positions does; leave prune "
            "out of stages, or take the loop out of the network."
        )
    return wiring(net, TRACE_SIZE_HW)


def _followed(net: SegmentationNet, size_hw: tuple[int, int], device: torch.device) -> Wiring:
    twin = twin_of(net, device)
    names = {module: name for name, module in reversed(list(twin.named_modules()))}
    layers: list[nn.Module] = [module for module in names if isinstance(module, LAYERS)]
    bits: dict[nn.Module, int] = {layer: 2 << number for number, layer in enumerate(layers)}  # 1 is the image
    channels = Channels()
    makers = sum(bits[layer] for layer in layers if makes_channels(layer)) | 1
    follow = Follow(channels, rule_of, makers)
    labelled = _label(twin, channels, follow, bits)
    bare = _label_bare(layers, channels, follow)
    for module in twin.modules():
        if isinstance(module, nn.RNNBase):
            opaque(module, follow, channels)
    reached = 0
    grad = torch.enable_grad() if device.type == "meta" else torch.no_grad()
    with torch.random.fork_rng(devices=[]), grad:
        for run, count, training in _passes(twin):
            twin.train(training)
            image = _image(net, count, size_hw, device)
            follow.tell(image, Known(shape=tuple(image.shape), axes=(None,) * 4, near=1, every=1))
            with follow:
                outputs = run(image)
            for logits in tensors_in([outputs]):
                known = follow.known(logits)
                reached |= known.every
                for axis in known.axes:
                    _fix(channels, axis, LOGITS)
            follow.ran.append("|")
    resolved = channels.resolved()
    return Wiring(
        units={
            name: tuple(None if axis is None else resolved.units[axis] for axis in axes)
            for name, axes in labelled.items()
        },
        bare={names[layer]: resolved.units[labels] for layer, labels in bare.items()},
        reasons=resolved.reasons,
        reaching=frozenset(names[layer] for layer in layers if bits[layer] & reached),
        rescaling=frozenset(names[layer] for layer in layers if bits[layer] & follow.rescaling),
        operations=hashlib.sha256(" ".join(follow.ran).encode()).hexdigest(),
    )


def _passes(net: SegmentationNet) -> Iterator[tuple[Callable[[Tensor], Any], int, bool]]:
    """What is run, on how many images, and whether in training."""
    yield net, 1, False
    yield net.traced_logits, 1, False
    yield net.all_logits, 2, True


def twin_of(net: SegmentationNet, device: torch.device) -> SegmentationNet:
    """A copy on a device; on ``meta`` without numbers. Tensors that are shared stay shared."""
    memo: dict[int, Any] = {}
    for module in net.modules():
        for tensor in [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]:
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                twin = torch.empty_like(tensor, device=device, requires_grad=False)
                if device.type != "meta":
                    twin.copy_(tensor.detach())
                is_parameter = isinstance(tensor, nn.Parameter)
                memo[id(tensor)] = nn.Parameter(twin, twin.is_floating_point()) if is_parameter else twin
    return copy.deepcopy(net, memo)


def _label(
    net: nn.Module, channels: Channels, follow: Follow, bits: Mapping[nn.Module, int]
) -> dict[str, tuple[Labels | None, ...]]:
    """Give numbers to the entries of all tensors of a network: by axis, a tensor under several names once."""
    found: dict[str, tuple[Labels | None, ...]] = {}
    seen: dict[int, tuple[Labels | None, ...]] = {}
    inside = {
        child for module in net.modules() if isinstance(module, FIXED_MODULES) for child in module.modules()
    }
    owners = {part: layer for layer in bits for part in layer.modules()}  # of parametrisations
    for prefix, module in net.named_modules():
        own = [*module._parameters.items(), *module._buffers.items()]
        for key, tensor in own:
            if tensor is None:
                continue
            axes = seen.get(id(tensor))
            if axes is None:
                count = _axes_with_channels(module, key, tensor)
                axes = tuple(
                    channels.new(size) if size > 1 and place < count else None
                    for place, size in enumerate(tensor.shape)
                )
                seen[id(tensor)] = axes
                bit = bits.get(owners.get(module, module), 0)
                known = Known(shape=tuple(tensor.shape), axes=axes, near=bit, every=bit, is_weight=True)
                follow.tell(tensor, known)
            if module in inside or (module not in bits and type(module).__module__.startswith("torch.nn")):
                for axis in axes:
                    _fix(channels, axis, f"it is a tensor of {type(module).__name__}, whose sizes are fixed")
            found[f"{prefix}.{key}".lstrip(".")] = axes
    return found


def _axes_with_channels(module: nn.Module, key: str, tensor: Tensor) -> int:
    if isinstance(module, LAYERS):
        return LAYER_TENSORS.get(key, 0)
    return tensor.ndim


def _label_bare(layers: Sequence[nn.Module], channels: Channels, follow: Follow) -> dict[nn.Module, Labels]:
    """Norms without any tensor know their channels by number alone."""
    bare: dict[nn.Module, Labels] = {
        layer: channels.new(layer.num_features)  # type: ignore[arg-type]
        for layer in layers
        if isinstance(layer, Norm) and layer.weight is None and layer.running_mean is None
    }

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axes = follow.known(inputs[0]).axes
        if len(bare[module]) > 1:
            meet(channels, axes[1] if len(axes) > 1 else None, bare[module])

    for layer in bare:
        layer.register_forward_pre_hook(note)
    return bare


def _fix(channels: Channels, axis: Axis, reason: str) -> None:
    if axis is not None and not isinstance(axis, str):
        channels.fix(axis, reason)


def _image(net: SegmentationNet, count: int, size_hw: tuple[int, int], device: torch.device) -> Tensor:
    """(count, 3, H, W) in [0, 1), always the same, in the network's own precision."""
    dtype = next(net.parameters()).dtype
    if device.type == "meta":
        return torch.empty(count, 3, *size_hw, dtype=dtype, device=device)
    return torch.rand(count, 3, *size_hw, generator=torch.Generator().manual_seed(0)).to(dtype)
