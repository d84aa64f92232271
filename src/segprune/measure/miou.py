"""Confusion counts over a whole split, and the one definition of mIoU."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segprune.errors import DataError

Pixels = NDArray[np.float64]


class ConfusionMatrix:
    """Pixel counts: rows are true classes, columns predicted ones; pixels with the ignore index are not counted.

    Counts are int64 from the first pixel to the last: float32 stops counting at 2^24.
    """

    def __init__(self, *, num_classes: int, ignore_index: int) -> None:
        self._num_classes = num_classes
        self._ignore_index = ignore_index
        self._counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    @property
    def counts(self) -> Tensor:
        """(K, K) int64 on CPU, a copy."""
        return self._counts.cpu().clone()

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Count a batch of pixels, on the device where they are.

        Args:
            prediction: (N, H, W) integer, 0..K-1.
            label: (N, H, W) integer, 0..K-1 or the ignore index.

        Raises:
            DataError: The shapes differ or are not (N, H, W), or a label is neither a class nor the ignore
                index.
            ValueError: A prediction at a labelled pixel is not a class.
        """
        if label.ndim != 3 or prediction.shape != label.shape:
            raise DataError(
                f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} must have the same "
                "shape (N, H, W); compare at the label's own size"
            )
        label = label.long()
        scored = label != self._ignore_index
        classes = self._num_classes
        refuse_unknown(label, scored, classes, self._ignore_index)
        refuse_no_class(prediction, scored, classes)
        # Unscored pixels go to one cell behind the matrix, which is cheaper than selecting the others.
        cell = torch.where(scored, label * classes + prediction, classes * classes)
        counted = torch.bincount(cell.flatten(), minlength=classes * classes + 1)[:-1]
        self._counts = self._counts.to(counted.device) + counted.view(classes, classes)

    def add(self, counts: Tensor) -> None:
        """Add the counts of another part of the split.

        Args:
            counts: (K, K) int64.

        Raises:
            ValueError: The counts are of another shape or type.
        """
        if counts.shape != self._counts.shape or counts.dtype != torch.int64:
            raise ValueError(
                f"counts {tuple(counts.shape)} {counts.dtype} cannot be added to "
                f"{tuple(self._counts.shape)} torch.int64"
            )
        self._counts = self._counts + counts.to(self._counts.device)


def refuse_unknown(label: Tensor, scored: Tensor, classes: int, ignore_index: int) -> None:
    """Check the labels of scored pixels.

    Raises:
        DataError: One is not in 0..classes-1.
    """
    unknown = scored & ((label < 0) | (label >= classes))
    if bool(unknown.any()):
        raise DataError(
            f"label {int(label[unknown][0])} is neither a class 0..{classes - 1} nor the ignore index "
            f"{ignore_index}; correct the label files or the dataset's class mapping"
        )


def refuse_no_class(prediction: Tensor, scored: Tensor, classes: int) -> None:
    """Check the predictions at scored pixels.

    Raises:
        ValueError: One is not in 0..classes-1.
    """
    outside = scored & ((prediction < 0) | (prediction >= classes))
    if bool(outside.any()):
        raise ValueError(f"prediction {int(prediction[outside][0])} is not a class 0..{classes - 1}")


@dataclass(frozen=True, kw_only=True)
class SegmentationMetrics:
    """What one confusion matrix says, as fractions in [0, 1].

    Attributes:
        miou: Mean of ``iou`` over the classes that occur in the labels. A class that is only predicted is not in
            the mean; its pixels are false negatives of the others.
        pixel_accuracy: Correct pixels by labelled pixels.
        mean_accuracy: Mean over the labelled classes of correct pixels by pixels of the class.
        mean_dice: Mean of ``dice`` over the classes that occur in the labels.
        fw_iou: ``iou`` weighted by the classes' share of the labelled pixels.
        iou: K values; nan where no pixel is labelled with the class.
        dice: K values, also called F1: twice the correct pixels by labelled and predicted ones together; nan where
            no pixel is labelled with the class, as recall.
        precision: K values: correct pixels by those predicted as the class; nan where none is.
        recall: K values: correct pixels by those labelled with the class.
        classes_scored: Number of classes that occur in the labels, over which ``miou`` is the mean.
    """

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    mean_dice: float
    fw_iou: float
    iou: tuple[float, ...]
    dice: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    classes_scored: int


def segmentation_metrics(counts: Tensor) -> SegmentationMetrics:
    """The metrics of the counts of a whole split.

    Args:
        counts: (K, K) int64, rows true, columns predicted.

    Raises:
        DataError: No pixel is labelled.
    """
    pixels = counts.cpu().numpy().astype(np.float64)  # exact up to 2^53 pixels in a cell
    hits, labelled, predicted = np.diagonal(pixels), pixels.sum(axis=1), pixels.sum(axis=0)
    total = labelled.sum()
    if total == 0:
        raise DataError("no pixel of the split is labelled with a class; check the labels and ignore_index")
    present = labelled > 0
    iou = _shares(hits, labelled + predicted - hits, present)
    dice = _shares(2 * hits, labelled + predicted, present)
    recall = _shares(hits, labelled, present)
    return SegmentationMetrics(
        miou=float(iou[present].mean()),
        pixel_accuracy=float(hits.sum() / total),
        mean_accuracy=float(recall[present].mean()),
        mean_dice=float(dice[present].mean()),
        fw_iou=float((labelled[present] / total * iou[present]).sum()),
        iou=tuple(iou.tolist()),
        dice=tuple(dice.tolist()),
        precision=tuple(_shares(hits, predicted, predicted > 0).tolist()),
        recall=tuple(recall.tolist()),
        classes_scored=int(present.sum()),
    )


def _shares(part: Pixels, whole: Pixels, defined: NDArray[np.bool_]) -> Pixels:
    """(K,) part by whole; nan where it is not defined."""
    return np.where(defined, part / np.where(defined, whole, 1.0), np.nan)
