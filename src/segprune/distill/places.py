"""Where in a network feature maps are compared: at the end of every stage, found by the trace."""

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from segprune.distill.contract import Maps, Places
from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup, Member
from segprune.graph.layers import Conv, Norm, is_depthwise
from segprune.graph.trace import trace
from segprune.measure.eval_mode import eval_mode
from segprune.model.contract import SegmentationNet

KNOWN = 12
"""Layers that a refusal names."""

Side = Literal["in", "out"]


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A side of a layer at which maps are compared.

    Attributes:
        layer: Dotted name.
        side: Whether the map is what the layer reads or what it makes.
        channels: Positions in that map; those of one group, or all.
        size_hw: (H, W) in px of the map.
    """

    layer: str
    side: Side
    channels: tuple[int, ...]
    size_hw: tuple[int, int]


def spots(net: SegmentationNet, maps: Maps, places: Places, size_hw: tuple[int, int]) -> tuple[Spot, ...]:
    """The places of a network, in the order in which it runs them.

    A stage is a run of layers with maps of one size. Its ends are the residual streams of that size, else the last
    map. The map that the logits are made of is always one. Maps of one pixel are none.

    Args:
        net: The network; left as it was.
        maps: ``read``: the map is what the first layer behind the end reads; ``before_relu``: what the last norm
            before it makes, or the last convolution where no norm follows.
        places: Layers to take instead, with all their channels.
        size_hw: (H, W) in px of the image.

    Raises:
        ConfigError: There is no such layer, or no place at all.
    """
    if places is not None and not places:
        raise ConfigError(
            "distill.places is [], so no maps would be compared. Name layers; or give distill.places=null, for the "
            "ends of stages."
        )
    calls, layers = _calls(net, size_hw), dict(net.named_modules())
    if places is not None:
        return tuple(_named(name, maps, calls, layers) for name in places)
    ends = [end for group in trace(net) if (end := _end(group, calls, layers)) is not None]
    ends.sort(key=lambda end: calls[end.maker.layer].order)
    found = {spot.layer: spot for end in _last(ends) for spot in _spots(end, maps, calls, layers)}
    if not found:
        raise ConfigError(
            f"distill compares feature maps, but none in {type(net).__name__} can be followed from the network to "
            "a cut one. Take a loss of logits, such as distill=kd, or name layers: 'distill.places=[<layer>]'."
        )
    return tuple(sorted(found.values(), key=lambda spot: calls[spot.layer].order))


@dataclass(frozen=True, kw_only=True)
class _Call:
    """The last call of a layer in a pass; ``order`` counts the calls of all layers."""

    order: int
    read: torch.Size
    made: torch.Size


@dataclass(frozen=True, kw_only=True)
class _End:
    """A group's channels when all is in them: the last layer that makes them and the first that reads them then.

    Attributes:
        maker: The last convolution that makes them.
        norm: The last norm of them, or the maker where there is none.
        reader: The first convolution that reads them afterwards.
        is_stream: Whether several convolutions make them, as in a residual stream.
        size_hw: (H, W) in px of the maps.
    """

    maker: Member
    norm: Member
    reader: Member
    is_stream: bool
    size_hw: tuple[int, int]


def _calls(net: SegmentationNet, size_hw: tuple[int, int]) -> Mapping[str, _Call]:
    """Name -> the last call of every convolution and norm with maps, in one deployed pass."""
    found: dict[str, _Call] = {}
    first = next(net.parameters())
    with ExitStack() as hooks, eval_mode(net), torch.no_grad():
        for name, layer in net.named_modules():
            if isinstance(layer, Conv | Norm):
                hooks.enter_context(layer.register_forward_hook(partial(_note, found, name)))
        net(torch.zeros(1, net.bands, *size_hw, device=first.device, dtype=first.dtype))
    return found


def _note(
    found: dict[str, _Call], name: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    if inputs[0].ndim == output.ndim == 4:
        order = 1 + max((call.order for call in found.values()), default=-1)
        found[name] = _Call(order=order, read=inputs[0].shape, made=output.shape)


def _end(group: ChannelGroup, calls: Mapping[str, _Call], layers: Mapping[str, nn.Module]) -> _End | None:
    """The end of a group; None where its maps have one pixel, or no layer with maps reads them."""
    ran = sorted(
        (member for member in group.members if member.layer in calls),
        key=lambda member: calls[member.layer].order,
    )
    made = [member for member in ran if member.axis == "out"]
    makers = [member for member in made if _makes(layers[member.layer])]
    if not makers:
        return None
    maker = makers[-1]
    ended = calls[maker.layer].order
    readers = [
        member
        for member in ran
        if member.axis == "in"
        and isinstance(layers[member.layer], Conv)
        and calls[member.layer].order > ended
    ]
    norms = [member for member in made if isinstance(layers[member.layer], Norm)]
    size_hw = _hw(calls[maker.layer].made)
    if not readers or math.prod(size_hw) == 1:
        return None
    return _End(
        maker=maker,
        norm=norms[-1] if norms else maker,
        reader=readers[0],
        is_stream=len(makers) > 1,
        size_hw=size_hw,
    )


def _last(ends: Sequence[_End]) -> Iterator[_End]:
    """The ends of stages, of those of all groups in the order in which they are made."""
    for _, run in itertools.groupby(ends, key=lambda end: end.size_hw):
        of_stage = list(run)
        yield from [end for end in of_stage if end.is_stream] or of_stage[-1:]
    yield from ends[-1:]


def _spots(
    end: _End, maps: Maps, calls: Mapping[str, _Call], layers: Mapping[str, nn.Module]
) -> Iterator[Spot]:
    """The place at an end; none where its maps have one pixel when they are read."""
    member = end.reader if maps == "read" else end.norm
    spot = _named(member.layer, maps, calls, layers)
    if math.prod(spot.size_hw) > 1:
        yield replace(spot, channels=tuple(sorted(member.own.tolist())))


def _named(name: str, maps: Maps, calls: Mapping[str, _Call], layers: Mapping[str, nn.Module]) -> Spot:
    """A layer with all the channels that it reads or makes."""
    kinds, does = (Conv, "reads") if maps == "read" else (Conv | Norm, "makes")
    usable = [
        layer for layer in sorted(calls, key=lambda one: calls[one].order) if isinstance(layers[layer], kinds)
    ]
    if name not in usable:
        near = difflib.get_close_matches(name, usable, n=KNOWN, cutoff=0.0)
        raise ConfigError(
            f"distill.places holds {name!r}, which is no layer of the network that {does} feature maps. Among "
            f"{len(usable)} such layers are {', '.join(near)}."
        )
    shape = calls[name].read if maps == "read" else calls[name].made
    side: Side = "in" if maps == "read" else "out"
    return Spot(layer=name, side=side, channels=tuple(range(shape[1])), size_hw=_hw(shape))


def _makes(layer: nn.Module) -> bool:
    return isinstance(layer, Conv) and not is_depthwise(layer)


def _hw(shape: torch.Size) -> tuple[int, int]:
    return shape[-2], shape[-1]
