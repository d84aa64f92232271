"""Boundary IoU: how well a network draws the borders between classes."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Classes = NDArray[np.int16]
Mask = NDArray[np.bool_]
_VOID_HIGH = 32767


@dataclass(frozen=True, kw_only=True)
class BoundaryScores:
    """Boundary IoU of a split, as fractions in [0, 1].

    Attributes:
        mean: Mean over the classes that have a labelled border in the split, as mIoU is one over the labelled
            classes; ``None`` if no class has one.
        iou: K values; nan for a class without a labelled border.
    """

    mean: float | None
    iou: tuple[float, ...]


def border_band(classes: Classes, scored: Mask, *, width: float) -> Mask:
    """Scored pixels within d px of a scored pixel of another class.

    d is ``width`` of the image's diagonal, rounded, at least 1; a pixel is as far away as the larger of its row and
    column distance, so the band of a class is what d erosions with a 3x3 square take from its mask.

    The frame of the image is no border, and neither is the edge of an unlabelled area: only borders between two
    known classes count.

    Source: Cheng et al. 2021, arXiv:2103.16562, for masks of single objects. Differs: its code counts the frame of
    the image as a border too.

    Args:
        classes: (h, w), 0..K-1 where it is scored.
        scored: (h, w).
        width: Fraction of the diagonal.
    """
    reach = max(1, round(width * math.hypot(*classes.shape)))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    # where no other class is near, the largest and the smallest class around a pixel are its own
    largest = cv2.dilate(np.where(scored, classes, np.int16(-1)), square)
    smallest = cv2.erode(np.where(scored, classes, np.int16(_VOID_HIGH)), square)
    band: Mask = scored & ((largest != classes) | (smallest != classes))
    return band


def boundary_counts(
    prediction: Classes, label: Classes, scored: Mask, labelled: Mask, *, num_classes: int, width: float
) -> Tensor:
    """Pixels of each class in the border bands of one image; add them up over a split.

    Args:
        prediction: (h, w), 0..K-1.
        label: (h, w), 0..K-1 where it is scored.
        scored: (h, w).
        labelled: (h, w), the label's ``border_band``, which is the same for every network.
        num_classes: K.
        width: As in ``border_band``.

    Returns:
        (3, K) int64: pixels in both bands, in the label's, in the prediction's.
    """
    predicted = border_band(prediction, scored, width=width)
    both = labelled & predicted & (prediction == label)
    counts = [
        np.bincount(classes[band], minlength=num_classes)
        for classes, band in ((label, both), (label, labelled), (prediction, predicted))
    ]
    return torch.from_numpy(np.stack(counts))


def boundary_scores(counts: Tensor) -> BoundaryScores:
    """Boundary IoU of the summed counts (3, K) of a whole split."""
    both, labelled, predicted = counts.numpy().astype(np.float64)
    present = labelled > 0
    iou = np.full(len(labelled), np.nan)
    iou[present] = (both / np.where(present, labelled + predicted - both, 1.0))[present]
    return BoundaryScores(mean=float(iou[present].mean()) if present.any() else None, iou=tuple(iou.tolist()))
