"""How nearly two predictors are one: a network and the file that was made of it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from segprune.measure.eval_mode import eval_mode
from segprune.model.contract import Predicts


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What two predictors gave for the same images.

    Attributes:
        max_abs_error: Largest difference of two logits.
        max_abs_logit: Largest logit of the reference, as a magnitude.
        argmax_agreement: Fraction of the pixels at which both have the same largest logit.
        images: How many.
    """

    max_abs_error: float
    max_abs_logit: float
    argmax_agreement: float
    images: int

    @property
    def relative_error(self) -> float:
        """Largest difference as a fraction of the largest logit."""
        return self.max_abs_error / self.max_abs_logit if self.max_abs_logit else self.max_abs_error


def parity(reference: Predicts, candidate: Predicts, batches: Iterable[Tensor]) -> Parity:
    """Compare two predictors.

    A logit that is not finite on either side makes ``max_abs_error`` not finite, so that no tolerance holds.

    Args:
        reference: What the other one should equal.
        candidate: The other one.
        batches: Images, each (N, 3, H, W) in [0, 1].

    Raises:
        ValueError: There are no images, or the logits differ in shape.
    """
    error, scale = torch.zeros(()), torch.zeros(())
    agreeing = pixels = images = 0
    with eval_mode(reference), eval_mode(candidate), torch.inference_mode():
        for batch in batches:
            expected, found = (net(batch).float().cpu() for net in (reference, candidate))  # (N, K, H, W)
            if expected.shape != found.shape:
                raise ValueError(f"logits of shape {tuple(found.shape)} instead of {tuple(expected.shape)}")
            error = torch.maximum(error, (expected - found).abs().amax())  # keeps NaN
            scale = torch.maximum(scale, expected.abs().amax())
            same = expected.argmax(1) == found.argmax(1)
            agreeing, pixels, images = (
                agreeing + int(same.sum()),
                pixels + same.numel(),
                images + len(batch),
            )
    if not images:
        raise ValueError("no images to compare on")
    return Parity(
        max_abs_error=float(error),
        max_abs_logit=float(scale),
        argmax_agreement=agreeing / pixels,
        images=images,
    )
