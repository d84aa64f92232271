"""Size of the batch norms' scales."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from segprune.graph.group import ChannelGroup, Member, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import carried, checked, norms, position_mean, refuse_unscored

NO_SCALE = "no batch norm with a scale carries all of its channels"


@dataclass(frozen=True, kw_only=True)
class BnScale:
    """Mean absolute scale of the batch norms that carry the channel, raw.

    A norm behind a depthwise convolution counts as one of the channel's norms.

    Source: Network Slimming, arXiv:1708.06519, the ranking alone. Differs: training has no L1 penalty on the
        scales, so nothing has driven them towards 0 and this is a weak form of the method; a channel with
        several norms (a residual stream) gets their mean, where the paper cuts no such channel.
    """

    name: ClassVar[str] = "bn_scale"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "global"

    def unscored(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> dict[str, str]:
        """Groups with channels that have no scale -> why."""
        del image
        return bare(net, groups)

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, not negative.

        Raises:
            ConfigError: A channel without a batch norm, or only with norms that have no scale.
            TrainingError: A scale that is not finite.
        """
        del calibration
        return scale_scores(net, groups, self.name)


def scale_scores(net: SegmentationNet, groups: Sequence[ChannelGroup], pruner: str) -> Scores:
    """Group name -> (C,) float64 on CPU: mean absolute scale of the norms that carry each channel.

    Args:
        net: The network.
        groups: Its channel groups.
        pruner: Who asks, for messages.

    Raises:
        ConfigError: A channel without a batch norm, or only with norms that have no scale.
        TrainingError: A scale that is not finite.
    """
    refuse_unscored(pruner, bare(net, groups))
    sizes = {
        group.name: [(member, _sizes(norm)) for member, norm in scaled_norms(net, group)] for group in groups
    }
    return checked({group.name: position_mean(sizes[group.name], group.size) for group in groups})


def bare(net: SegmentationNet, groups: Sequence[ChannelGroup]) -> dict[str, str]:
    """Groups with channels that have no batch norm, or only norms without a scale -> why.

    No other number is comparable with a scale.
    """
    scaled = {group.name: [member for member, _ in scaled_norms(net, group)] for group in groups}
    return {group.name: NO_SCALE for group in groups if not carried(scaled[group.name], group.size).all()}


def scaled_norms(net: SegmentationNet, group: ChannelGroup) -> list[tuple[Member, nn.Module]]:
    """The batch norms of the group that have a scale."""
    return [(member, layer) for member, layer in norms(net, group) if layer.affine]


def _sizes(norm: nn.Module) -> Tensor:
    """(C_layer,) float64 CPU: absolute scales."""
    return norm.get_parameter("weight").detach().cpu().double().abs()
