"""What a distillation loss is given and what it gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Literal

from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.training.step import Training

Places = list[str] | None
"""Layers at whose inputs (``before_relu``: outputs) maps are compared; ``None``: those that the trace finds."""
Maps = Literal["none", "read", "before_relu"]
"""Which feature maps a loss compares, at places that the trace finds at the end of every stage of a network.

``none``: logits only. ``read``: the map that the next stage reads, after the activation. ``before_relu``: the
output of the last norm of the stage, before the activation; in a residual stage, before the addition too.
"""

Match = Literal["epochs", "compute"]
"""What a training with a teacher has in common with one without: the number of ``epochs``, or the multiply-adds,
for which it has fewer epochs."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one network makes of a batch. Student and teacher have the same N, K, H, W and h, w.

    Attributes:
        logits: (N, K, H, W) float32 at the resolution of the student's output, which may be smaller than the label.
        features: Place -> (N, C, h, w) float32; empty for a loss that compares logits only.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place at which feature maps are compared, as the loss gets them.

    Attributes:
        student: Channels of the student's map.
        teacher: Channels of the teacher's map; for a loss whose maps are ``matched``, as many as the student's.
        scale: (C,) float32, the scales of the norm that makes the teacher's map, for ``before_relu`` where a batch
            norm makes it; else None.
        shift: (C,) float32, likewise.
    """

    student: int
    teacher: int
    scale: Tensor | None = None
    shift: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What is known of both networks before the first batch.

    Attributes:
        classes: K.
        places: Place -> the maps there, in the order in which the network makes them; empty without maps.
        learned: What ``Loss.prepare`` gave, on the device.
    """

    classes: int
    places: Mapping[str, Place]
    learned: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))


Look = Callable[[Batch], Seen]
"""A batch on the device -> what the teacher makes of it, without gradients."""


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """A distillation loss: a frozen dataclass, whose fields say all that it does; one file and one YAML each.

    It is called outside of autocast, in float32. Its means are over pixels, channels and images, so that a weight
    does not depend on the size of crops and batches. The teacher's values have no gradient.

    Attributes:
        match: How long the student is trained.
        maps: Which feature maps it compares.
        matched: Whether channel c of both maps must be the same channel. The maps of a student that was cut out of
            the teacher are then compared at the channels it kept; where the student is no part of the teacher, a
            learnt 1x1 convolution maps its channels to the teacher's; it is trained with the student and dropped.
        prepares: Whether ``prepare`` trains something before the student is taught.
        by_itself: Whether the teacher is the network itself, as it was before this training.
    """

    match: Match = "epochs"
    maps: ClassVar[Maps] = "none"
    matched: ClassVar[bool] = True
    prepares: ClassVar[bool] = False
    by_itself: ClassVar[bool] = False

    def prepare(self, look: Look, training: Training) -> Mapping[str, Tensor]:
        """What is learned from the teacher alone, such as an auto-encoder of its maps; kept in the store.

        Args:
            look: The teacher, in float32.
            training: Of the student, with a seed and a folder of its own; what is in the folder survives a kill.
        """
        del look, training
        return {}

    def parts(self, shapes: Shapes) -> nn.Module:
        """What is trained with the student in a parameter group of its own, and then dropped; here nothing.

        Made once, under a seed; its state is kept over a kill. Frozen tensors belong in buffers.
        """
        del shapes
        return nn.Module()

    @abstractmethod
    def __call__(
        self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
    ) -> Tensor:
        """The loss of a batch, a scalar, multiplied by its weight.

        Args:
            student: With gradients.
            teacher: Without.
            label: (N, H', W') int64, perhaps larger than the logits.
            ignore_index: Label of pixels that are not labelled.
            parts: What ``parts`` gave.
        """


@dataclass(frozen=True, kw_only=True)
class MapLoss(Loss):
    """A loss that compares feature maps too; it says which ones by its ``maps``.

    Attributes:
        places: Where.
    """

    maps: ClassVar[Maps] = "read"
    places: Places
