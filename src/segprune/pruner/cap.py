"""CAP: sparse training with the largest penalty on channels that give the least context to others."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.bn_scale import scaled_norms
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.mapped import NO_MAPS, flat, ranks
from segprune.pruner.sparse import SparseStep, SparseTraining, trained_scales
from segprune.training.step import Training


@dataclass(frozen=True, kw_only=True)
class ContextTraining(SparseTraining):
    """Sparse training whose penalty on a channel falls with the channel's context.

    Source: CAP, WACV 2021, pages 960 to 969. A reconstruction: no code was released, and the text that was read
        does not say how the paper turns the affinity of channels into its guidance. Here the context of a channel
        is the attention that the other channels pay to it, and the penalty is divided by it.

    Attributes:
        memory: Weight of the past in the moving average of the contexts over batches.
        softening: Added to a context before dividing by it; more makes all channels more alike.
        pool: Largest height and width, in positions, of the maps that are compared.
    """

    pruner: ClassVar[str] = "cap"
    looks_inside: ClassVar[bool] = True
    works_on_several_gpus: ClassVar[bool] = False
    memory: Annotated[float, Field(ge=0, lt=1)]
    softening: PositiveFloat
    pool: PositiveInt

    def unscored(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> dict[str, str]:
        """Groups with channels that have no scale, or with a norm that gives no feature maps -> why."""
        scaled = {group.name: scaled_norms(net, group) for group in groups}
        layers = {member.layer: norm for pairs in scaled.values() for member, norm in pairs}
        found = ranks(net, layers, image)
        vectors = {
            name: NO_MAPS
            for name, pairs in scaled.items()
            if flat([member.layer for member, _ in pairs], layers, found)
        }
        return vectors | super().unscored(net, groups, image)

    def step(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], training: Training, steps: int
    ) -> "ContextStep":
        """The updates of one epoch."""
        return ContextStep(net, groups, training, steps, phase=self)


class ContextStep(SparseStep):
    """Updates with the guided penalty."""

    def __init__(
        self,
        net: SegmentationNet,
        groups: Sequence[ChannelGroup],
        training: Training,
        steps: int,
        *,
        phase: ContextTraining,
    ) -> None:
        super().__init__(net, groups, training, steps, penalty=phase.penalty)
        self.phase = phase
        self.contexts: dict[str, Tensor] = {}

    def epoch(self, batches: Iterable[Batch], epoch: int) -> float:
        """Train on the batches of one epoch, watching the norms of the prunable channels."""
        with ExitStack() as hooks:
            for name in self.scales:
                layer = self.net.get_submodule(name)
                hooks.enter_context(layer.register_forward_hook(partial(self._watch, name)))
            return super().epoch(batches, epoch)

    def pressure(self, name: str) -> Tensor | float:
        """(C_layer,): 1 at the mean context, more below it."""
        if name not in self.contexts:
            return 1.0
        softening = self.phase.softening
        return (1 + softening) / (self.contexts[name] + softening)

    def state_dict(self) -> dict[str, Any]:
        """With the contexts."""
        return {**super().state_dict(), "contexts": dict(self.contexts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` gave."""
        super().load_state_dict(state)
        self.contexts = {name: value.to(self.device) for name, value in state["contexts"].items()}

    @torch.no_grad()
    def _watch(self, name: str, _layer: nn.Module, _inputs: object, output: Tensor) -> None:
        seen = context(output, self.phase.pool)
        before, memory = self.contexts.get(name, seen), self.phase.memory
        self.contexts[name] = memory * before + (1 - memory) * seen


@torch.no_grad()
def context(maps: Tensor, pool: int) -> Tensor:
    """How much the other channels attend to each one, with mean 1.

    Args:
        maps: (N, C, H, W) before the activation.
        pool: Larger maps are averaged down to this height and width.

    Returns:
        (C,) float32.
    """
    active = F.relu(maps.detach().float())
    size = (min(pool, active.shape[2]), min(pool, active.shape[3]))
    with torch.autocast(
        maps.device.type, enabled=False
    ):  # half precision would shift contexts by 3 % of their spread
        rows = F.normalize(F.adaptive_avg_pool2d(active, size).flatten(2), dim=2)  # (N, C, positions)
        attention = (rows @ rows.transpose(1, 2)).softmax(dim=2)  # (N, C, C), each row sums to 1
    others = attention.sum(1) - attention.diagonal(dim1=1, dim2=2)  # (N, C)
    given = others.mean(0)
    if len(given) == 1:  # has no others
        return torch.ones_like(given)
    return given / given.mean()


@dataclass(frozen=True, kw_only=True)
class Cap:
    """Absolute scale of the batch norms after sparse training guided by context, raw.

    Source: CAP, WACV 2021; see ``ContextTraining``: a reconstruction.

    Attributes:
        phase: The sparse training.
    """

    name: ClassVar[str] = "cap"
    needs: ClassVar[Needs] = "weights"
    scope: ClassVar[Scope] = "global"
    phase: ContextTraining

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, not negative.

        Raises:
            ConfigError: The network did not go through the phase, or has channels without a scale.
            TrainingError: A scale that is not finite.
        """
        return trained_scales(net, groups, calibration, self.name)
