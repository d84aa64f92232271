"""Distillation of where in the image each class is."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from segprune.distill.contract import Loss, Seen
from segprune.distill.pixels import Ignored, Temperature, Weight, counted

NOWHERE = -1e9
"""So far below any logit that its softmax is 0; minus infinity would make 0 times infinity of it."""


@dataclass(frozen=True, kw_only=True)
class CWD(Loss):
    """Channel-wise distillation: the KL divergence of softmaxes over the pixels, per image and class.

    ``T^2 / (N K) * sum over images and classes of KL(softmax(t / T) || softmax(s / T))``, on the logits.

    Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", arXiv:2011.13256. Differs: it
        uses ``log_softmax``, where the official code takes the logarithm of a softmax that may be 0.

    Attributes:
        weight: Of the loss.
        temperature: T.
        ignored: Whether pixels without a label count; left out, the softmaxes are over the others.
    """

    weight: Weight
    temperature: Temperature
    ignored: Ignored

    def __call__(
        self, student: Seen, teacher: Seen, label: Tensor, *, ignore_index: int, parts: nn.Module
    ) -> Tensor:
        """The loss of a batch."""
        del parts
        mask = counted(label, like=student.logits, ignore_index=ignore_index, ignored=self.ignored)
        return self.weight * divergence_over_space(
            student.logits, teacher.logits, mask, temperature=self.temperature
        )


def divergence_over_space(student: Tensor, teacher: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
    """The mean over images and channels of ``T^2 * KL(teacher || student)`` over the pixels that count, a scalar.

    An image without such pixels gives 0.

    Args:
        student: (N, C, H, W).
        teacher: Likewise.
        mask: (N, H, W) bool.
        temperature: T.
    """
    left_out = ~mask.flatten(1)[:, None]  # (N, 1, H * W)
    of_student, of_teacher = (
        F.log_softmax((maps.flatten(2) / temperature).masked_fill(left_out, NOWHERE), dim=2)
        for maps in (student, teacher)
    )
    terms = of_teacher.exp() * (of_teacher - of_student)
    return temperature**2 * terms.sum() / terms.shape[:2].numel()
