"""What a loss gives to the rest of the program."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Loss(Protocol):
    """A frozen dataclass whose fields say all that it does, so that results of two losses are told apart."""

    @property
    def name(self) -> str:
        """The word on the command line."""

    def __call__(self, logits: Tensor, label: Tensor, *, ignore_index: int, weights: Tensor | None) -> Tensor:
        """The loss of one head; nothing in here reads a number from the device, which would wait for it.

        Args:
            logits: (N, K, H, W) float32, also where the network computes in half precision.
            label: (N, H, W) int64, with at least one pixel that has a class.
            ignore_index: Label of pixels that do not count.
            weights: (K,) float32 by class; None: all 1.

        Returns:
            A scalar.
        """
