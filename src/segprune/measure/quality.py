"""Confusion counts of a network on a split."""

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from segprune import stop
from segprune.dataset.contract import Items
from segprune.dataset.loading import batches
from segprune.measure.eval_mode import eval_mode
from segprune.measure.miou import ConfusionMatrix
from segprune.model.contract import SegmentationNet


def evaluate(
    net: SegmentationNet,
    items: Items,
    *,
    num_classes: int,
    ignore_index: int,
    batch_size: int,
    workers: int,
    device: torch.device,
) -> Tensor:
    """Count every scored pixel of the items, each at its label's own size.

    Single scale, no flip, float32, which convolutions on NVIDIA GPUs compute in TF32 by torch's default. Logits
    are upsampled bilinearly (``align_corners=False``) before the argmax. The network is in evaluation mode
    meanwhile; its flags are restored.

    Args:
        net: On ``device``.
        items: Images (3, H, W) and labels (h, w), not necessarily of one size.
        num_classes: K.
        ignore_index: Label of unscored pixels.
        batch_size: Most images in one forward pass; the result does not depend on it.
        workers: Loading processes; 0 loads in this process.
        device: Where the network is.

    Returns:
        (K, K) int64 on CPU; rows true, columns predicted.

    Raises:
        DataError: A label is neither a class nor the ignore index.
    """
    confusion = ConfusionMatrix(num_classes=num_classes, ignore_index=ignore_index)
    loader = batches(items, batch_size=batch_size, workers=workers)
    with eval_mode(net), torch.inference_mode(), torch.autocast(device.type, enabled=False):
        # disable=None: a bar on a terminal, nothing in a log file
        for image, label in tqdm(loader, desc="evaluate", unit="batch", leave=False, disable=None):
            stop.if_asked()
            logits = net(image.to(device, non_blocking=True))  # (N, K, H', W')
            target = label.to(device, non_blocking=True)  # (N, h, w)
            for one, truth in zip(logits.float(), target, strict=True):
                # One image at a time: 19 classes at 1024x2048 are 160 MB.
                confusion.update(_classes(one, (truth.shape[0], truth.shape[1])), truth[None])
    return confusion.counts


def _classes(logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(K, H', W') logits -> (1, H, W) int64, the class of each pixel at ``size_hw``."""
    resized = F.interpolate(logits[None], size=size_hw, mode="bilinear", align_corners=False)
    return resized.argmax(dim=1)
