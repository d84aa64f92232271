"""What any cut would cost, without cutting: the widths of all layers as a function of the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segprune.graph.group import ChannelGroup
from segprune.graph.layers import Conv, is_depthwise
from segprune.measure.eval_mode import eval_mode
from segprune.model.contract import SegmentationNet

Unit = Literal["channels", "macs", "params"]
Width = TypeVar("Width", int, torch.Tensor)


@dataclass(frozen=True)
class _Layer:
    """Widths of one layer and what each costs.

    Attributes:
        inputs: Input channels.
        outputs: Output channels.
        is_depthwise: Whether each output channel reads its own input channel only.
        positions: Multiply-adds per (input channel, output channel) pair: kernel elements x positions.
        kernel: Weights per (input channel, output channel) pair.
        per_output: Further parameters per output channel: bias, weight and bias of a norm, or a slope.
    """

    inputs: int
    outputs: int
    is_depthwise: bool
    positions: int
    kernel: int
    per_output: int

    def cost(self, inputs: Width, outputs: Width, unit: Unit) -> Width:
        pairs = outputs if self.is_depthwise else inputs * outputs
        if unit == "macs":
            return pairs * self.positions
        return pairs * self.kernel + outputs * self.per_output


class CostSimulator:
    """Channels, MACs and params of a network after any cut.

    The numbers equal those of the network really cut (tested): multiply-adds of convolutions and linear
    layers, per image, and all parameters except those of training-only heads.

    Args:
        net: Dense network; left as it was.
        groups: Its channel groups.
        size_hw: (H, W) in px of the image the MACs are for.
    """

    def __init__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], size_hw: tuple[int, int]
    ) -> None:
        positions = _positions(net, size_hw)
        self._layers = {
            name: layer
            for name, module in net.named_modules()
            if name.split(".")[0] not in net.training_only
            and (layer := _describe(module, positions.get(name, 0))) is not None
        }
        self._groups = {group.name: group for group in groups}
        self._touches: dict[str, list[tuple[str, str, NDArray[np.int64]]]] = {
            group.name: [
                (member.layer, member.axis, np.bincount(member.root.numpy(), minlength=group.size))
                for member in group.members
                if member.layer in self._layers
            ]
            for group in groups
        }
        counted = sum(layer.cost(layer.inputs, layer.outputs, "params") for layer in self._layers.values())
        total = sum(
            parameter.numel()
            for name, parameter in net.named_parameters()
            if name.split(".")[0] not in net.training_only
        )
        self._other_params = total - counted

    def cost(self, plan: Mapping[str, Sequence[int]], unit: Unit) -> int:
        """Channels, MACs or params that remain after the plan."""
        if unit == "channels":
            return sum(group.size - len(plan.get(name, ())) for name, group in self._groups.items())
        widths = {name: [layer.inputs, layer.outputs] for name, layer in self._layers.items()}
        for name, removed in plan.items():
            chosen = np.asarray(removed, dtype=np.int64)
            for layer, axis, count in self._touches[name]:
                widths[layer][axis != "in"] -= int(count[chosen].sum())
        total = sum(
            layer.cost(inputs=widths[name][0], outputs=widths[name][1], unit=unit)
            for name, layer in self._layers.items()
        )
        return total + (self._other_params if unit == "params" else 0)

    def expected(self, keep: Mapping[str, torch.Tensor], unit: Unit) -> torch.Tensor:
        """Expected cost when channels stay with given probabilities; differentiable.

        Widths are taken as independent, as in DMCP (arXiv:2005.03354); with probabilities 0 and 1 it is ``cost``.

        Args:
            keep: Group name -> (C,) probability that each channel stays; groups without an entry stay whole.
            unit: Of the cost.
        """
        if unit == "channels":
            whole = [torch.tensor(float(g.size)) for name, g in self._groups.items() if name not in keep]
            return torch.stack([*whole, *(chance.sum() for chance in keep.values())]).sum()
        widths: dict[str, list[torch.Tensor]] = {
            name: [torch.tensor(float(layer.inputs)), torch.tensor(float(layer.outputs))]
            for name, layer in self._layers.items()
        }
        for name, chance in keep.items():
            for layer, axis, count in self._touches[name]:
                gone = ((1 - chance) * torch.from_numpy(count).to(chance)).sum()
                widths[layer][axis != "in"] = widths[layer][axis != "in"].to(chance) - gone
        parts = [
            layer.cost(inputs=widths[name][0], outputs=widths[name][1], unit=unit)
            for name, layer in self._layers.items()
        ]
        return torch.stack([torch.as_tensor(part) for part in parts]).sum() + (
            self._other_params if unit == "params" else 0
        )

    def expected_share(self, keep: Mapping[str, torch.Tensor], *, unit: Unit) -> torch.Tensor:
        """Expected fraction of the whole network's cost, as ``expected``."""
        return self.expected(keep, unit) / self.cost({}, unit)


def _positions(net: SegmentationNet, size_hw: tuple[int, int]) -> dict[str, int]:
    """Layer name -> positions at which its kernel is applied, per image, from one forward."""
    found: dict[str, int] = {}
    hooks = []

    def watch(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            if isinstance(module, Conv):
                side = inputs[0] if module.transposed else output
                found[name] = found.get(name, 0) + side[0, 0].numel()
            else:
                found[name] = found.get(name, 0) + output[0].numel() // output.shape[-1]

        hooks.append(module.register_forward_hook(hook))

    for name, module in net.named_modules():
        if isinstance(module, Conv | nn.Linear):
            watch(name, module)
    first = next(net.parameters())
    try:
        with eval_mode(net), torch.no_grad():
            net(torch.zeros(1, 3, *size_hw, device=first.device, dtype=first.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _describe(module: nn.Module, positions: int) -> _Layer | None:
    if isinstance(module, Conv):
        kernel = int(np.prod(module.kernel_size))
        # a grouped convolution is never in a group: its pairs are a constant share of inputs x outputs
        share = 1 if is_depthwise(module) else module.groups
        return _Layer(
            inputs=module.in_channels // share,
            outputs=module.out_channels,
            is_depthwise=is_depthwise(module),
            positions=kernel * positions,
            kernel=kernel,
            per_output=int(module.bias is not None),
        )
    if isinstance(module, nn.Linear):
        return _Layer(
            inputs=module.in_features,
            outputs=module.out_features,
            is_depthwise=False,
            positions=positions,
            kernel=1,
            per_output=int(module.bias is not None),
        )
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return _per_channel(module.num_features, 2 * int(module.affine))
    if isinstance(module, nn.PReLU):
        return _per_channel(module.num_parameters, 1)
    return None


def _per_channel(channels: int, params: int) -> _Layer:
    return _Layer(inputs=0, outputs=channels, is_depthwise=False, positions=0, kernel=0, per_output=params)
