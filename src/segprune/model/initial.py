"""The weights that a network begins with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from segprune.model.contract import SegmentationNet
from segprune.seed import seeded


def initial(
    make: Callable[..., SegmentationNet],
    *,
    num_classes: int,
    seed: int,
    image_hw: tuple[int, int] | None = None,
) -> SegmentationNet:
    """The dense network with its initial weights, which depend on the seed alone.

    Args:
        make: Makes it for a number of classes, drawing weights from torch's random numbers.
        num_classes: K.
        seed: The run's seed.
        image_hw: (H, W) in px of the images it is used on, where that is known.
    """
    with seeded(seed, "model"):
        net = make(num_classes=num_classes)
    if image_hw is not None:
        net.image_hw = image_hw
    return net


_are_to_come = ContextVar("_are_to_come", default=False)


@contextmanager
def weights_to_come() -> Iterator[None]:
    """Inside, ``load_backbone`` leaves the weights as initialised: they are replaced later, or do not matter.

    So a finished network can be read on a machine without the file that its training began with.
    """
    token = _are_to_come.set(True)
    try:
        yield
    finally:
        _are_to_come.reset(token)


def are_to_come() -> bool:
    """Whether weights are replaced later, inside ``weights_to_come``."""
    return _are_to_come.get()
