"""Plain distillation of logits."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from segprune.distill.contract import Loss, Seen
from segprune.distill.pixels import Ignored, Temperature, Weight, counted, mean_of


@dataclass(frozen=True, kw_only=True)
class KD(Loss):
    """``T^2 * KL(softmax(t / T) || softmax(s / T))`` over the classes, averaged over the pixels.

    Source: Hinton et al., arXiv:1503.02531. Differs from implementations by ``nn.KLDivLoss``: its reduction
        ``mean`` divides by the classes too, ``batchmean`` not by the pixels.

    Attributes:
        weight: Of the loss.
        temperature: T.
        ignored: Whether pixels without a label count.
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
        return self.weight * divergence(student.logits, teacher.logits, mask, temperature=self.temperature)


def divergence(student: Tensor, teacher: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
    """The mean over the pixels that count of ``T^2 * KL(teacher || student)``, a scalar.

    Args:
        student: (N, K, H, W) logits.
        teacher: Likewise.
        mask: (N, H, W) bool.
        temperature: T.
    """
    of_student, of_teacher = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    per_pixel = (of_teacher.exp() * (of_teacher - of_student)).sum(dim=1)  # (N, H, W)
    return temperature**2 * mean_of(per_pixel, mask)
