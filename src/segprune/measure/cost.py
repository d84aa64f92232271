"""Parameters and multiply-adds of a network."""

from collections.abc import Sequence
from dataclasses import dataclass

from segprune.graph.layers import Conv
from segprune.measure.itemise import Items, itemise
from segprune.model.contract import SegmentationNet

MACS_RULE = (
    "MACs: multiply-adds of convolutions, transposed convolutions, linear layers and matrix products, of one "
    "image in inference. Norms (they fold away on deployment), activations, pooling, interpolation, "
    "elementwise operations and biases are not counted, nor is what the logits are not computed from."
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network costs in inference.

    Attributes:
        params: Parameters that the logits are computed from.
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
    return total(itemise(net, size_hw))


def total(items: Items) -> Cost:
    """What all items cost together."""
    return Cost(params=sum(item.cost for item in items.params), macs=sum(item.cost for item in items.macs))


def idle_parts(net: SegmentationNet, items: Items) -> tuple[str, ...]:
    """The parts that the logits are not computed from, but for the ``training_only`` ones.

    A part is the largest module without any parameter that counts, or a single parameter.

    Args:
        net: A network.
        items: Of this network.
    """
    idle = {name for name in items.idle if not net.only_trains(name)}
    every = [name for name, _ in net.named_parameters()]
    return tuple(dict.fromkeys(_outermost(name, idle, every) for name in items.idle if name in idle))


def conv_inputs(net: SegmentationNet, items: Items) -> tuple[int, ...]:
    """Input channels of every convolution that the logits are computed from, but for those that read the image.

    Args:
        net: A network.
        items: Of this network.
    """
    idle = set(items.idle)
    first = {item.module for item in items.macs if item.reads_image}
    return tuple(
        layer.in_channels
        for name, layer in net.named_modules()
        if isinstance(layer, Conv) and f"{name}.weight" not in idle and name not in first
    )


def file_size_bytes(net: SegmentationNet) -> int:
    """Size of the deployed network's weights and buffers as a safetensors file."""
    from safetensors.torch import save

    deployed = {
        name: tensor.contiguous() for name, tensor in net.state_dict().items() if not net.only_trains(name)
    }
    return len(save(deployed))


def _outermost(name: str, idle: set[str], every: Sequence[str]) -> str:
    """The longest part of the network around an idle parameter that is idle as a whole."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        around = ".".join(parts[:depth])
        if all(other in idle for other in every if other.startswith(f"{around}.")):
            return around
    return name
