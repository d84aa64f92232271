"""Sparse training: an L1 penalty on batch norm scales drives those of useless channels towards zero."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.bn_scale import bare, scale_scores, scaled_norms
from segprune.pruner.contract import Calibration, Prepared, Target
from segprune.pruner.gather import refuse_unscored
from segprune.schedule.schedule import Schedule
from segprune.training.loop import fit
from segprune.training.step import Step, Training

EDGES = torch.logspace(-5, 1, 61)
"""Edges of the histogram of |scale|; values outside count in the first or the last bin."""
THRESHOLDS = (0.1, 0.01, 0.001)


@dataclass(frozen=True, kw_only=True)
class SparseTraining:
    """Training with ``penalty * |scale|`` summed over the batch norms of the prunable channels.

    The subgradient ``penalty * sign(scale)``, 0 at 0, is added to the scales' gradients before each update: after
    the loss scaling of mixed precision is undone and after clipping, so that it is never rescaled. Norms of
    channels that cannot be pruned are left alone. Scales have no weight decay, as everywhere in ``Schedule``.

    Source: Network Slimming, arXiv:1708.06519, eq. 1. Differs: it starts from the trained dense network, not
        from scratch; the paper decays scales like weights.

    Attributes:
        penalty: Weight of the penalty; lambda of the paper.
        schedule: Of the phase.

    Raises:
        ConfigError: The schedule has no epoch, or keeps another epoch's weights than the last one's.
    """

    needs_budget: ClassVar[bool] = False
    pruner: ClassVar[str] = "slimming"
    looks_inside: ClassVar[bool] = False
    works_on_several_gpus: ClassVar[bool] = True
    penalty: Annotated[float, Field(gt=0)]
    schedule: Schedule

    def __post_init__(self) -> None:
        without = "pruner=bn_scale ranks the scales of a network without such a phase"
        refuse_schedule(self.schedule, without, looks_inside=self.looks_inside)

    @property
    def effort(self) -> float:
        """As a plain one."""
        return 1.0

    def refuse(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> None:
        """Check that it can work on all of the groups.

        Raises:
            ConfigError: It cannot.
        """
        refuse_unscored(self.pruner, self.unscored(net, groups, image))

    def unscored(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> dict[str, str]:
        """Groups with channels that have no scale -> why."""
        del image
        return bare(net, groups)

    def __call__(
        self,
        net: SegmentationNet,
        groups: Sequence[ChannelGroup],
        *,
        training: Training,
        calibration: Calibration,
        target: Target,
    ) -> Prepared:
        """The network with sparse scales; learned: ``histogram`` (epochs + 1, bins) of |scale|, 0 being before."""
        del calibration, target
        refuse_unscored(self.pruner, bare(net, groups))
        trained, curve, step = fit(net, training, partial(_step, self, groups))
        return Prepared(net=trained, learned={"histogram": torch.stack(step.histograms)}, curve=curve)

    def step(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], training: Training, steps: int
    ) -> "SparseStep":
        """The updates of one epoch."""
        return SparseStep(net, groups, training, steps, penalty=self.penalty)

    def figure(self, learned: Mapping[str, Tensor]) -> Figure:
        """|scale| of all prunable channels over the epochs, and before and after."""
        counts, edges = learned["histogram"].double().numpy(), EDGES.numpy()
        share = 100 * counts / counts.sum(1, keepdims=True)  # (epochs + 1, bins) %
        figure = Figure(figsize=(10, 4), layout="constrained")
        over_time, ends = figure.subplots(1, 2)
        mesh = over_time.pcolormesh(np.arange(len(share) + 1) - 0.5, edges, share.T, cmap="Blues")
        figure.colorbar(mesh, ax=over_time, label="% of channels")
        over_time.set(yscale="log", xlabel="epoch of the sparse training", ylabel="|BN scale|")
        for row, name in ((0, "before"), (-1, "after")):
            ends.stairs(share[row], edges, label=name, fill=row == -1, alpha=0.6 if row == -1 else 1)
        ends.set(xscale="log", xlabel="|BN scale|", ylabel="% of channels")
        ends.legend()
        return figure


def _step(
    phase: SparseTraining,
    groups: Sequence[ChannelGroup],
    net: SegmentationNet,
    training: Training,
    steps: int,
) -> "SparseStep":
    """Unlike a lambda, it can be sent to other processes."""
    return phase.step(net, groups, training, steps)


class SparseStep(Step):
    """Updates with the penalty, and the histogram of the scales after every epoch."""

    def __init__(
        self,
        net: SegmentationNet,
        groups: Sequence[ChannelGroup],
        training: Training,
        steps: int,
        *,
        penalty: float,
    ) -> None:
        super().__init__(net, training, steps)
        layers = {member.layer: norm for group in groups for member, norm in scaled_norms(net, group)}
        self.scales: dict[str, nn.Parameter] = {
            name: norm.get_parameter("weight") for name, norm in layers.items()
        }
        self.penalty = penalty
        self.histograms = [self._histogram()]

    def pressure(self, name: str) -> Tensor | float:
        """Factor on the penalty of each scale of a norm: (C_layer,), or one number for all."""
        del name
        return 1.0

    @torch.no_grad()
    def adjust_gradients(self) -> None:
        """Add the subgradient of the penalty."""
        for name, scale in self.scales.items():
            if scale.grad is not None:
                scale.grad += self.penalty * self.pressure(name) * scale.sign()

    def facts(self) -> dict[str, float]:
        """Shares of the scales below thresholds, in percent."""
        self.histograms.append(self._histogram())
        sizes = self._sizes()
        return {
            f"scales_below_{limit:g}": 100 * float((sizes < limit).double().mean()) for limit in THRESHOLDS
        }

    def state_dict(self) -> dict[str, Any]:
        """With the histograms so far."""
        return {**super().state_dict(), "histograms": torch.stack(self.histograms)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` gave."""
        super().load_state_dict(state)
        self.histograms = list(state["histograms"])

    def _sizes(self) -> Tensor:
        return torch.cat([scale.detach().abs() for scale in self.scales.values()]).cpu()

    def _histogram(self) -> Tensor:
        inside = self._sizes().clamp(float(EDGES[0]), float(EDGES[-1]))
        return torch.histogram(inside, EDGES).hist.long()


def trained_scales(
    net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration, pruner: str
) -> Scores:
    """Group name -> (C,) float64 on CPU: absolute scales of a network that went through such a phase.

    Raises:
        ConfigError: It did not, or has channels without a scale.
        TrainingError: A scale that is not finite.
    """
    if calibration.learned is None:
        raise ConfigError(
            f"pruner {pruner} scores a network after its sparse training, and this one had none. Let the prune "
            "stage run it, or use bn_scale for the scales as they are."
        )
    return scale_scores(net, groups, pruner)


def refuse_schedule(schedule: Schedule, without: str, *, looks_inside: bool) -> None:
    """Check that a phase trains and keeps the weights of its last epoch.

    Args:
        schedule: Of the phase.
        without: Remedy for a phase without epochs.
        looks_inside: Whether the phase reads or changes what layers compute while they run.

    Raises:
        ConfigError: It has no epoch, keeps other weights, or runs layers in a way that the phase cannot look into.
    """
    for name in ("compile", "checkpointing"):
        if looks_inside and getattr(schedule, name):
            raise ConfigError(
                f"pruner.phase.schedule.{name} is true, but the phase looks into layers while they run, which that "
                f"would disturb. Give pruner.phase.schedule.{name}=false."
            )
    if schedule.epochs == 0:
        raise ConfigError(
            f"pruner.phase.schedule.epochs is 0, but the method is its training phase; {without}."
        )
    if schedule.keep != "last":
        raise ConfigError(
            f"pruner.phase.schedule.keep is {schedule.keep!r}; it must be 'last': the epoch with the best mIoU is "
            "an early one, before the phase has done its work."
        )
