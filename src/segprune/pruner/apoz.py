"""Channels that the activation sets to zero almost everywhere."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import TrainingError
from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import checked, map_layers, of_running, position_mean, refuse_unscored
from segprune.pruner.mapped import unmapped
from segprune.pruner.scoring_mode import scoring_mode


@dataclass(frozen=True, kw_only=True)
class Apoz:
    """One minus the average percentage of zeros: the fraction of pixels where a ReLU lets the channel through.

    A pixel counts as zero if the output of the batch norm is not above 0, without a norm that of the layer that
    makes the channel. A ReLU or ReLU6 directly behind gives 0 for exactly these pixels. Where the norm is summed
    with others first (a residual stream) this only approximates the activation, and for a channel that never meets
    a ReLU (a linear bottleneck) it says little.

    Source: Network Trimming, arXiv:1607.03250, the score alone. Differs: the budget decides how many channels are
        removed, not the distance of one standard deviation from the mean in several rounds of pruning and training;
        a channel with several norms has the mean of theirs, which is a choice made here.
    """

    name: ClassVar[str] = "apoz"
    needs: ClassVar[Needs] = "feature maps"
    scope: ClassVar[Scope] = "local"

    def unscored(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> dict[str, str]:
        """Groups with channels that are in no feature map -> why."""
        return unmapped(net, groups, image)

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, in [0, 1].

        Raises:
            ConfigError: No calibration batch, or a channel that is in no feature map.
            TrainingError: A feature map that is not finite.
        """
        calibration.require_batches(self.name)
        refuse_unscored(self.name, self.unscored(net, groups, calibration.batches[0].image[:1]))
        places = {group.name: map_layers(net, group) for group in groups}
        layers = {member.layer: layer for pairs in places.values() for member, layer in pairs}
        with scoring_mode(net, calibration.device, trainable=()):
            active = _active_fractions(net, layers, calibration.batches)
        return checked(
            {
                group.name: position_mean(
                    of_running(group, [member for member, _ in places[group.name]], active), group.size
                )
                for group in groups
            }
        )


def _active_fractions(
    net: SegmentationNet, layers: dict[str, nn.Module], batches: Sequence[Batch]
) -> dict[str, Tensor]:
    """Layer that runs -> (C_layer,) float64 CPU, fraction of pixels above 0, mean over the images."""
    found: dict[str, list[_Seen]] = {}
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(partial(_note, found, name)))
        for batch in batches:
            net.all_logits(batch.image)
    return {name: _fractions(name, seen).mean(0) for name, seen in found.items()}


class _Seen(NamedTuple):
    """What a layer gave for a batch; its counts stay on the device, since a look at them would wait for it."""

    above: Tensor  # (N, C) int64 pixels above 0
    is_finite: Tensor  # () bool
    pixels: int


def _note(
    found: dict[str, list[_Seen]], name: str, _layer: nn.Module, _inputs: object, output: Tensor
) -> None:
    """Count at once: an activation in place would change the maps."""
    seen = _Seen((output > 0).sum(dim=(2, 3)), output.isfinite().all(), output.shape[2:].numel())
    found.setdefault(name, []).append(seen)


def _fractions(name: str, found: Sequence[_Seen]) -> Tensor:
    """(images, C) float64 CPU."""
    if not torch.stack([seen.is_finite for seen in found]).all():
        raise TrainingError(
            f"layer {name}: its feature maps are not finite. Train the network with a lower learning rate."
        )
    pixels = torch.tensor([seen.pixels for seen in found for _ in seen.above], dtype=torch.float64)
    return torch.cat([seen.above for seen in found]).cpu().double() / pixels[:, None]
