"""Whether the layers of a network give feature maps."""

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import ExitStack
from functools import partial

from torch import Tensor, nn

from segprune.graph.group import ChannelGroup
from segprune.model.contract import SegmentationNet
from segprune.pruner.gather import carried, map_layers
from segprune.pruner.scoring_mode import scoring_mode

NO_MAPS = "its layers do not all give feature maps"
NOT_RUN = "no layer that runs in all_logits carries all of its channels"


def unmapped(net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> dict[str, str]:
    """Groups with channels that are in no feature map, or with layers that give something else -> why.

    Args:
        net: Run once, in eval mode; left as it was.
        groups: Its channel groups.
        image: (1, C, H, W).
    """
    places = {group.name: map_layers(net, group) for group in groups}
    layers = {member.layer: layer for pairs in places.values() for member, layer in pairs}
    found = ranks(net, layers, image)
    reasons: dict[str, str] = {}
    for group in groups:
        ran = [member for member, _ in places[group.name] if member.layer in found]
        if not carried(ran, group.size).all():
            reasons[group.name] = NOT_RUN
        elif flat([member.layer for member in ran], layers, found):
            reasons[group.name] = NO_MAPS
    return reasons


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


def flat(names: Iterable[str], layers: Mapping[str, nn.Module], found: Mapping[str, Set[int]]) -> list[str]:
    """Of the layers with these names, those that run and give something else than feature maps (N, C, H, W).

    Args:
        names: Of layers.
        layers: Name -> layer.
        found: What ``ranks`` says of them.
    """
    ran = [name for name in names if name in found]
    return [name for name in ran if isinstance(layers[name], nn.Linear) or found[name] != {4}]


def _note_rank(
    found: dict[str, set[int]], name: str, _layer: nn.Module, _inputs: object, output: Tensor
) -> None:
    found.setdefault(name, set()).add(output.dim())
