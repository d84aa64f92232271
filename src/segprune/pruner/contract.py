"""What a pruning criterion gives to the rest of the program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.schedule.schedule import Schedule
from segprune.training.step import Epoch, Training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scope = Literal["local", "global"]
Needs = Literal["weights", "gradients", "gradients of the loss", "feature maps"]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The labelled training data a criterion may look at; the same for every method.

    Attributes:
        batches: Fixed, seeded batches of the training split, each on ``device`` once it is taken from here.
        loss: (network, batch) -> scalar training loss of the labelled pixels, without class weights, auxiliary
            heads included as in training.
        device: Where the network is.
        seed: For criteria that draw random numbers, each from a generator of its own.
        learned: What the criterion's own training phase learned besides weights; None when there was none.
    """

    batches: Sequence[Batch]
    loss: Callable[[SegmentationNet, Batch], Tensor]
    device: torch.device
    seed: int
    learned: Mapping[str, Tensor] | None = None

    def require_batches(self, pruner: str) -> None:
        """Check that there is a batch.

        Raises:
            ConfigError: There is none.
        """
        if not self.batches:
            raise ConfigError(
                f"calibration holds 0 batches; {pruner} needs some. Raise the number of calibration images."
            )


@runtime_checkable
class Pruner(Protocol):
    """A criterion: one score per channel of every group; higher = keep.

    A call leaves weights, buffers, gradients, train/eval flags, hooks and the global RNG as they were.
    """

    @property
    def name(self) -> str:
        """The word on the command line."""

    @property
    def needs(self) -> Needs:
        """What the scores are computed from."""

    @property
    def scope(self) -> Scope:
        """Where the paper ranks: within each group (local) or over all groups (global)."""

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, finite; higher = keep."""


@runtime_checkable
class SelectivePruner(Pruner, Protocol):
    """A criterion that cannot work on every network; see ``Partial`` for single groups."""

    def refuse(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> None:
        """Check that a call can score a network like this, whatever its weights, before anything is trained.

        Args:
            net: Left as it was.
            groups: As a call gets them.
            image: (1, C, H, W) on the network's device; what it shows does not matter.

        Raises:
            ConfigError: It cannot; says because of which layers, and what works instead.
        """


@runtime_checkable
class Partial(Protocol):
    """A criterion, or its training phase, that cannot work on every group of channels."""

    def unscored(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor
    ) -> Mapping[str, str]:
        """Groups that it cannot work on, whatever the weights: they stay whole, and it never sees them.

        Args:
            net: Left as it was.
            groups: All that can be cut.
            image: (1, C, H, W) on the network's device; what it shows does not matter.

        Returns:
            Name of each such group -> why, in a few words.
        """


@dataclass(frozen=True, kw_only=True)
class Target:
    """The goal of the budget, for a phase that trains towards it.

    Attributes:
        share: Fraction of the budget's unit that should remain; 1 for a budget without a fraction.
        remaining: Group name -> (C,) probability in [0, 1] that each channel stays -> expected fraction of the
            unit that remains; differentiable.
    """

    share: float
    remaining: Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a phase hands to its criterion.

    Attributes:
        net: The network after the phase, in eval mode, uncut.
        learned: What else was learned, by name.
        curve: What each epoch did.
    """

    net: SegmentationNet
    learned: Mapping[str, Tensor]
    curve: tuple[Epoch, ...]


class Phase(Protocol):
    """Training that a criterion needs before it can score."""

    @property
    def schedule(self) -> Schedule:
        """Its own schedule; the result is the network after its last epoch."""

    @property
    def needs_budget(self) -> bool:
        """Whether it uses the calibration set and the target; if not, all budgets share its result."""

    @property
    def effort(self) -> float:
        """Time of its steps, in that of plain ones."""

    def refuse(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> None:
        """Check that the phase can run on a network like this, before anything is trained.

        Args:
            net: Left as it was.
            groups: Its channel groups.
            image: (1, C, H, W) on the network's device; what it shows does not matter.

        Raises:
            ConfigError: It cannot run on it.
        """

    def __call__(
        self,
        net: SegmentationNet,
        groups: Sequence[ChannelGroup],
        *,
        training: Training,
        calibration: Calibration,
        target: Target,
    ) -> Prepared:
        """Train a copy of the network; resumable, as ``fit`` is."""

    def figure(self, learned: Mapping[str, Tensor]) -> "Figure":
        """What the phase learned, to look at."""


@runtime_checkable
class TrainedPruner(Pruner, Protocol):
    """A criterion whose scores follow from a training phase of its own."""

    @property
    def phase(self) -> Phase:
        """The phase; the scores follow from the network after it and from what it learned."""
