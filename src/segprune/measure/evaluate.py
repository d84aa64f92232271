"""The confusion counts of one network on a split: what chooses the best epoch."""

import torch
from torch import Tensor

from segprune.dataset.contract import Items
from segprune.measure.inference import View, infer
from segprune.measure.miou import ConfusionMatrix
from segprune.measure.passes import ONE_PASS, Passes
from segprune.model.contract import SegmentationNet


def evaluate(  # noqa: PLR0913 - all by name
    net: SegmentationNet,
    items: Items,
    *,
    num_classes: int,
    ignore_index: int,
    batch_size: int,
    workers: int,
    device: torch.device,
    passes: Passes = ONE_PASS,
) -> Tensor:
    """Count every scored pixel of the items, each at its label's own size; see ``infer``.

    Args:
        net: On ``device``.
        items: Images (3, H, W) and labels (h, w), not necessarily of one size.
        num_classes: K.
        ignore_index: Label of unscored pixels.
        batch_size: Most images in one forward pass; the result does not depend on it.
        workers: Loading processes; 0 loads in this process.
        device: Where the network is.
        passes: How every image is shown to it.

    Returns:
        (K, K) int64 on CPU; rows true, columns predicted.

    Raises:
        DataError: A label is neither a class nor the ignore index.
    """
    confusion = ConfusionMatrix(num_classes=num_classes, ignore_index=ignore_index)

    def count(view: View) -> None:
        confusion.update(view.prediction[None], view.label[None])

    infer([net], net, items, count, batch_size=batch_size, workers=workers, device=device, passes=passes)
    return confusion.counts
