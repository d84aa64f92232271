"""What a network makes of a batch: its logits, and its feature maps at the places."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from segprune.distill.places import Side

Heads = Sequence[Tensor]


@dataclass(frozen=True, kw_only=True)
class Tap:
    """Where a map is taken from one network.

    Attributes:
        layer: Dotted name.
        side: Whether it is what the layer reads or what it makes.
        channels: (C,) int64, those that are compared, in order; None: all.
    """

    layer: str
    side: Side
    channels: Tensor | None

    def on(self, device: torch.device) -> "Tap":
        """The same, with its channels on a device."""
        return self if self.channels is None else replace(self, channels=self.channels.to(device))


def look(
    net: nn.Module, run: Callable[[Tensor], Heads], image: Tensor, taps: Mapping[str, Tap]
) -> tuple[Heads, Mapping[str, Tensor]]:
    """The logits of all heads, as the network gives them, and place -> (N, C, h, w) maps in float32.

    A layer that runs several times gives the map of its last run.

    Args:
        net: The network; its hooks are gone afterwards.
        run: Gives the logits, by running the network.
        image: (N, 3, H, W).
        taps: Place -> where its map is taken.
    """
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for place, tap in taps.items():
            hooks.enter_context(_hooked(net.get_submodule(tap.layer), tap.side, partial(_keep, found, place)))
        heads = run(image)
    return heads, {place: _chosen(found[place], tap.channels) for place, tap in taps.items()}


def _hooked(layer: nn.Module, side: Side, keep: Callable[[Tensor], None]) -> RemovableHandle:
    """A hook that keeps what a layer reads or makes; of a norm with an activation inside, what is before that."""
    if side == "in":
        return layer.register_forward_pre_hook(lambda _, inputs: keep(inputs[0]))
    inside = next(layer.children(), None)
    if inside is not None:
        return inside.register_forward_pre_hook(lambda _, inputs: keep(inputs[0].clone()))
    # an activation behind it may work in place
    return layer.register_forward_hook(lambda _, __, output: keep(output.clone()))


def _keep(found: dict[str, Tensor], place: str, maps: Tensor) -> None:
    found[place] = maps


def _chosen(maps: Tensor, channels: Tensor | None) -> Tensor:
    return (maps if channels is None else maps.index_select(1, channels)).float()
