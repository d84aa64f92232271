"""Whether the layers of a network give feature maps."""

from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from functools import partial

from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup
from segprune.model.contract import SegmentationNet
from segprune.pruner.gather import map_layers, of_running
from segprune.pruner.scoring_mode import scoring_mode


def refuse_unmapped(net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor, pruner: str) -> None:
    """Check that every channel of the groups is in a feature map, and their layers give nothing else.

    Args:
        net: Run once, in eval mode; left as it was.
        groups: Its channel groups.
        image: (1, C, H, W).
        pruner: Who asks, for messages.

    Raises:
        ConfigError: A layer gives no maps, or no layer of a group runs.
    """
    places = {group.name: map_layers(net, group) for group in groups}
    layers = {member.layer: layer for pairs in places.values() for member, layer in pairs}
    found = ranks(net, layers, image)
    refuse_vectors(layers, found, pruner)
    for group in groups:
        of_running(group, [member for member, _ in places[group.name]], found)


def ranks(net: SegmentationNet, layers: Mapping[str, nn.Module], image: Tensor) -> dict[str, set[int]]:
    """Layer that runs -> the numbers of dimensions of what it gives.

    Args:
        net: Run once, in eval mode; left as it was.
        layers: Name -> layer that gives a tensor.
        image: (1, C, H, W).
    """
    found: dict[str, set[int]] = {}
    with ExitStack() as hooks, scoring_mode(net, image.device, trainable=()):
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(partial(_note_rank, found, name)))
        net.all_logits(image)
    return found


def refuse_vectors(layers: Mapping[str, nn.Module], found: Mapping[str, Set[int]], pruner: str) -> None:
    """Check that layers give feature maps (N, C, H, W).

    Args:
        layers: Name -> layer.
        found: What ``ranks`` says of them.
        pruner: Who asks, for messages.

    Raises:
        ConfigError: One gives something else.
    """
    flat = [name for name in found if isinstance(layers[name], nn.Linear) or found[name] != {4}]
    if flat:
        named = ", ".join(f"{name} ({type(layers[name]).__name__})" for name in flat)
        raise ConfigError(
            f"pruner {pruner}: it compares feature maps, and {len(flat)} of {len(found)} layers that it would look "
            f"at give none: {named}. Take a criterion that reads weights or gradients for this network, e.g. "
            "pruner=taylor."
        )


def _note_rank(
    found: dict[str, set[int]], name: str, _layer: nn.Module, _inputs: object, output: Tensor
) -> None:
    found.setdefault(name, set()).add(output.dim())
