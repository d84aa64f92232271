"""Class weights for the loss, from how often each class occurs in the training labels."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from segprune.dataset.contract import Items, LabelReader
from segprune.errors import DataError


def class_weights(
    items: Items, *, num_classes: int, ignore_index: int, mode: Literal["none", "sqrt", "median"]
) -> Tensor:
    """(K,) float32 weights; ignored pixels count nowhere.

    - ``none``: all 1; no item is read.
    - ``sqrt``: ``w = f^-0.5 / sum(f^0.5)`` with f the fraction of labelled pixels, so that the mean weight
      of a labelled pixel, ``sum(w f)``, is 1.
    - ``median``: ``w = median(q) / q`` with q the class's fraction of the labelled pixels of those images in
      which it occurs, and the median over the classes that occur. Source: multi-scale depth and labels,
      arXiv:1411.4734.

    A class without any pixel gets the largest weight of the others: resizing may have dropped its pixels, which
    augmented crops still show, and with a weight of 0 the loss of a crop that shows nothing else is 0/0.

    Args:
        items: Training items without augmentation; no image is read if they are a ``LabelReader``.
        num_classes: K.
        ignore_index: Label that is left out.
        mode: Which rule.

    Raises:
        DataError: No pixel of any item is labelled.
    """
    if mode == "none":
        return torch.ones(num_classes)
    # (N, K) int64, pixels of each class in each image; disable=None: a bar on a terminal, nothing in a log file
    labels = tqdm(_labels(items), "class weights", len(items), unit="label", leave=False, disable=None)
    counts = torch.stack([_counts(label, num_classes, ignore_index) for label in labels])
    pixels = counts.sum(0)  # (K,) int64
    occurs = pixels > 0
    if not occurs.any():
        raise DataError(
            f"all {len(items)} training labels hold only ignore_index {ignore_index}; there is nothing to "
            "learn: check dataset.ignore_index and the labels"
        )
    if mode == "sqrt":
        fraction = pixels.double() / pixels.sum()
        weights = fraction.rsqrt() / fraction.sqrt().sum()
    else:
        # (K,) labelled pixels of all images in which the class occurs
        labelled = (counts.sum(1, keepdim=True) * (counts > 0)).sum(0)
        fraction = pixels.double() / labelled
        weights = fraction[occurs].quantile(0.5) / fraction
    weights[~occurs] = weights[occurs].max()
    return weights.float()


def _labels(items: Items) -> Iterator[Tensor]:
    """Each item's (H, W) int64 label."""
    for index in range(len(items)):
        yield items.label(index) if isinstance(items, LabelReader) else items[index].label


def _counts(label: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """(H, W) int64 -> (K,) int64 pixels of each class."""
    return torch.bincount(label[label != ignore_index], minlength=num_classes)
