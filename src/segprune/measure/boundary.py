"""Boundary IoU: how well a network draws the borders between classes."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_VOID_HIGH = 32767


@dataclass(frozen=True, kw_only=True)
class BoundaryIou:
    """Boundary IoU of a split, as fractions in [0, 1].

    Attributes:
        mean: Mean over the classes that have a labelled border in the split, as mIoU is one over the labelled
            classes; ``None`` if no class has one.
        iou: K values; nan for a class without a labelled border.
    """

    mean: float | None
    iou: tuple[float, ...]


def border_band(classes: Tensor, scored: Tensor, *, width: float) -> Tensor:
    """Scored pixels within d px of a scored pixel of another class.

    d is ``width`` of the image's diagonal, rounded, at least 1; a pixel is as far away as the larger of its row and
    column distance, so the band of a class is what d erosions with a 3x3 square take from its mask.

    The frame of the image is no border, and neither is the edge of an unlabelled area: only borders between two
    known classes count.

    Source: Cheng et al. 2021, arXiv:2103.16562, for masks of single objects. Differs: its code counts the frame of
    the image as a border too.

    Args:
        classes: (h, w) integer, 0..K-1 where it is scored; K below 32767.
        scored: (h, w) bool.
        width: Fraction of the diagonal.

    Returns:
        (h, w) bool, where the classes are.
    """
    reach = max(1, round(width * math.hypot(*classes.shape)))
    around = _around_on_cpu if classes.device.type == "cpu" else _around
    return scored & around(classes, scored, reach)


def _around_on_cpu(classes: Tensor, scored: Tensor, reach: int) -> Tensor:
    """As ``_around``; OpenCV takes the same time for any reach."""
    own, known = classes.numpy().astype(np.int16), scored.numpy()
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    largest = cv2.dilate(np.where(known, own, np.int16(-1)), square)
    smallest = cv2.erode(np.where(known, own, np.int16(_VOID_HIGH)), square)
    return torch.from_numpy((largest != own) | (smallest != own))


def _around(classes: Tensor, scored: Tensor, reach: int) -> Tensor:
    """(h, w) bool: whether a scored pixel of another class is in the square of 2 reach + 1 px around a scored one.

    If there is none, the largest and the smallest class in the square are its own. A maximum over a square is one
    over columns of maxima over rows; float32 holds every class exactly.
    """
    own = classes.float()
    planes = torch.stack([own, -own]).masked_fill(~scored, -torch.inf)[None]  # (1, 2, h, w)
    side = 2 * reach + 1
    rows = F.max_pool2d(planes, (1, side), stride=1, padding=(0, reach))
    largest, smallest = F.max_pool2d(rows, (side, 1), stride=1, padding=(reach, 0))[0]
    differs: Tensor = (largest != own) | (-smallest != own)
    return differs


def boundary_counts(pixels: Tensor) -> Tensor:
    """Pixels of each class in the border bands of one image; add them up over a split.

    Args:
        pixels: (K, K, 2, 2) int64: pixels by true class, predicted class, whether they are in the ``border_band``
            of the label, and whether in that of the prediction.

    Returns:
        (3, K) int64: pixels in both bands, in the label's, in the prediction's.
    """
    both, labelled, predicted = pixels[:, :, 1, 1], pixels[:, :, 1], pixels[..., 1]
    return torch.stack([both.diagonal(), labelled.sum((1, 2)), predicted.sum((0, 2))])


def boundary_iou(counts: Tensor) -> BoundaryIou:
    """Boundary IoU of the summed counts (3, K) of a whole split."""
    both, labelled, predicted = counts.numpy().astype(np.float64)
    present = labelled > 0
    iou = np.full(len(labelled), np.nan)
    iou[present] = (both / np.where(present, labelled + predicted - both, 1.0))[present]
    return BoundaryIou(mean=float(iou[present].mean()) if present.any() else None, iou=tuple(iou.tolist()))
