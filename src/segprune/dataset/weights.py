"""Class weights for the loss, from how often each class occurs in the training labels."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import torch
from torch import Tensor
from tqdm import tqdm

from segprune.dataset.cache import locked, write_atomic
from segprune.dataset.contract import Items, LabelReader
from segprune.dataset.made_by import written_as
from segprune.errors import DataError

log = logging.getLogger(__name__)
COUNTED_BY = f"{written_as('weights', 'items', 'augment')}, OpenCV {cv2.__version__}"
"""Part of a file of counts: what resizes and counts labels. What reads them is told by the file's name."""


def class_weights(
    items: Items,
    *,
    num_classes: int,
    ignore_index: int,
    mode: Literal["none", "sqrt", "median"],
    kept: Path | None = None,
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
        kept: File that keeps the counts of these very items between trainings; ``None``: they are counted now.

    Raises:
        DataError: No pixel of any item is labelled.
        ConfigError: That file cannot be written.
    """
    if mode == "none":
        return torch.ones(num_classes)
    counts = _kept_counts(items, num_classes, ignore_index, kept)  # (N, K) int64
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


def _kept_counts(items: Items, num_classes: int, ignore_index: int, path: Path | None) -> Tensor:
    """(N, K) int64 pixels of each class in each label: from the file if it has them, else counted."""
    if path is None:
        return _counted(items, num_classes, ignore_index)
    with locked(path):  # if several jobs start at once, one counts and the others wait
        found = _read(path, (len(items), num_classes))
        if found is None:
            found = _counted(items, num_classes, ignore_index)
            content = json.dumps({"counted_by": COUNTED_BY, "counts": found.tolist()}).encode()
            write_atomic(path, lambda file: file.write(content))
    return found


def _read(path: Path, shape: tuple[int, int]) -> Tensor | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        counts = torch.tensor(content["counts"], dtype=torch.int64)
        if counts.shape != shape:
            raise ValueError(f"it is of {tuple(counts.shape)} labels and classes, not of {shape}")
    except (ValueError, TypeError, KeyError) as error:
        log.warning("%s is damaged (%s): labels are counted again", path, error)
        return None
    return counts if content["counted_by"] == COUNTED_BY else None


def _counted(items: Items, num_classes: int, ignore_index: int) -> Tensor:
    # disable=None: a bar on a terminal, nothing in a log file
    labels = tqdm(_labels(items), "class weights", len(items), unit="label", leave=False, disable=None)
    return torch.stack([_counts(label, num_classes, ignore_index) for label in labels])


def _labels(items: Items) -> Iterator[Tensor]:
    """Each item's (H, W) label."""
    for index in range(len(items)):
        yield items.label(index) if isinstance(items, LabelReader) else items[index].label


def _counts(label: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """(H, W) -> (K,) int64 pixels of each class."""
    return torch.bincount(label[label != ignore_index], minlength=num_classes)
