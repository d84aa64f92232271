"""The training loss of a whole network: of every head, unlabelled pixels left out."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segprune.dataset.contract import Batch
from segprune.loss.contract import Loss
from segprune.model.contract import SegmentationNet


def segmentation_loss(
    of_head: Loss, *, ignore_index: int, class_weights: Tensor | None, aux_weight: float
) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    """(logits of every head, each (N, K, H, W), the main one first; label (N, h, w)) -> scalar.

    Logits are taken in float32 and bilinearly resized to the label; each further head adds ``aux_weight`` times
    its own loss. A batch without a labelled pixel gives 0.

    Args:
        of_head: The loss of one head.
        ignore_index: Label of pixels that do not count.
        class_weights: (K,) float or None for equal weights.
        aux_weight: Weight of the auxiliary heads, e.g. 0.4 in PSPNet and DeepLab (arXiv 1612.01105).
    """

    def loss(heads: Sequence[Tensor], label: Tensor) -> Tensor:
        # chosen on the device: a look at the answer would wait for it in every step
        is_labelled = (label != ignore_index).any()
        label = torch.where(is_labelled, label, 0)
        total = torch.zeros((), device=label.device)
        for index, logits in enumerate(heads):
            resized = logits.float()
            if logits.shape[-2:] != label.shape[-2:]:
                resized = F.interpolate(resized, size=label.shape[-2:], mode="bilinear", align_corners=False)
            term = of_head(resized, label, ignore_index=ignore_index, weights=class_weights)
            total = total + (1.0 if index == 0 else aux_weight) * term
        return torch.where(is_labelled, total, 0.0)

    return loss


def calibration_loss(
    of_head: Loss, *, ignore_index: int, aux_weight: float
) -> Callable[[SegmentationNet, Batch], Tensor]:
    """(network, batch) -> scalar unweighted training loss, for criteria that need gradients."""
    loss = segmentation_loss(of_head, ignore_index=ignore_index, class_weights=None, aux_weight=aux_weight)
    return lambda net, batch: loss(net.all_logits(batch.image), batch.label)
