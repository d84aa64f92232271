"""What a network gives to the rest of the program."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Predicts(Protocol):
    """Whatever predicts: a network, or a runner of a deployed file."""

    def __call__(self, image: Tensor, /) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W), on the device of the images."""


class SegmentationNet(nn.Module):
    """A network from images in [0, 1] to class logits; subclasses implement ``forward``.

    It is made for RGB; ``model.bands`` changes it for images of C other bands.

    Attributes:
        training_only: Dotted names of submodules that only training uses (auxiliary heads). A cut shrinks their
            inputs but not their own width; they are not counted in params and MACs and do not run in ``forward``.
        mean: (1, C, 1, 1) float, of the images the weights were made for.
        std: (1, C, 1, 1) float, likewise.
        image_hw: (H, W) in px of the images it is used on, where that is known; its channels are followed there.
    """

    training_only: tuple[str, ...] = ()
    image_hw: tuple[int, int] | None = None
    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def bands(self) -> int:
        """C, of the images that it reads."""
        return self.mean.shape[1]

    def only_trains(self, name: str) -> bool:
        """Whether a module or parameter of this dotted name is in a part that only training uses."""
        return f"{name}.".startswith(tuple(f"{part}." for part in self.training_only))

    def normalise(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, H, W) with the mean and std of the weights."""
        return (image - self.mean) / self.std

    def forward(self, image: Tensor) -> Tensor:  # noqa: ARG002 - subclasses read it
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W); the pass that is deployed, measured and counted."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> logits of every head, each (N, K, H, W), the main head first; training runs this."""
        return (self(image),)

    def traced_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        """As ``all_logits``, with every coupling between channels visible to autograd; the graph traces it."""
        return self.all_logits(image)
