"""The weights that a network begins with."""

from collections.abc import Callable

from segprune.model.contract import SegmentationNet
from segprune.seed import seeded


def initial(make: Callable[..., SegmentationNet], *, num_classes: int, seed: int) -> SegmentationNet:
    """The dense network with its initial weights, which depend on the seed alone.

    Args:
        make: Makes it for a number of classes, drawing weights from torch's random numbers.
        num_classes: K.
        seed: The run's seed.
    """
    with seeded(seed, "model"):
        return make(num_classes=num_classes)
