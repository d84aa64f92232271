"""Small-object recall: how many of the small objects in the labels a network still finds."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def small_objects(label: NDArray[np.int16], scored: NDArray[np.bool_], *, area: float) -> NDArray[np.int32]:
    """Number the small objects of one image.

    An object is a connected part of one class, diagonal neighbours included; it is small if it has fewer pixels
    than ``area`` of the image. Every class counts: a patch of sky between leaves is an object too.

    Args:
        label: (h, w), 0..K-1 where it is scored.
        scored: (h, w).
        area: Fraction of the image's pixels.

    Returns:
        (h, w): 0 outside of small objects, 1, 2, ... inside.
    """
    objects = np.zeros(label.shape, np.int32)
    found = 0
    for value in np.unique(label[scored]):
        mask = ((label == value) & scored).astype(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        window = (slice(top, top + height), slice(left, left + width))
        _, parts, stats, _ = cv2.connectedComponentsWithStats(mask[window], connectivity=8)
        is_small = stats[:, cv2.CC_STAT_AREA] < area * label.size  # (parts,)
        is_small[0] = False  # the background
        number = np.where(is_small, found + np.cumsum(is_small), 0)
        objects[window] += number[parts].astype(np.int32)
        found += int(is_small.sum())
    return objects


def small_object_counts(correct: Tensor, objects: Tensor, sizes: Tensor) -> Tensor:
    """How many small objects there are and how many are recalled: at least half of their pixels are right.

    Args:
        correct: (h, w) bool, whether the prediction is right.
        objects: (h, w), from ``small_objects``.
        sizes: (n,) pixels of objects 1 to n.

    Returns:
        (2,) int64: objects, recalled ones; add them up over a split.
    """
    right = torch.bincount((objects * correct).flatten(), minlength=len(sizes) + 1)[1:]
    recalled = (2 * right >= sizes).sum()
    return torch.stack([torch.full_like(recalled, len(sizes)), recalled])
