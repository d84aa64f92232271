"""What networks predict on a split, as counts from which every quality number follows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segprune.dataset.contract import SegData
from segprune.measure.boundary import border_band, boundary_counts
from segprune.measure.inference import View, infer
from segprune.measure.miou import ConfusionMatrix
from segprune.measure.reconstruction import reconstruction_sums
from segprune.measure.small_objects import small_object_counts, small_objects
from segprune.model.contract import Predicts


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is measured beyond the confusion counts.

    Attributes:
        boundary_width: Width of the border bands, as a fraction of the image's diagonal.
        small_object_area: Objects with less than this fraction of the image's pixels are small.
    """

    boundary_width: float
    small_object_area: float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What one network predicts on a split.

    Attributes:
        image_counts: (N, K, K) int32, confusion counts of each image; rows true, columns predicted.
        boundary: (3, K) int64, see ``boundary_counts``.
        small_objects: (2,) int64, see ``small_object_counts``.
        reconstruction: (3,) float64 against the reference network, see ``reconstruction_sums``.
    """

    image_counts: Tensor
    boundary: Tensor
    small_objects: Tensor
    reconstruction: Tensor

    @property
    def counts(self) -> Tensor:
        """(K, K) int64, pooled over the split."""
        return self.image_counts.sum(dim=0, dtype=torch.int64)


def assess(
    nets: Sequence[Predicts],
    reference: Predicts,
    data: SegData,
    rules: Rules,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
) -> tuple[Quality, ...]:
    """Measure networks on the report split in one pass, side by side with a reference network; see ``infer``.

    Args:
        nets: On ``device``; the reference may be one of them.
        reference: On ``device``; runs once per image.
        data: The dataset.
        rules: What is measured.
        batch_size: Most images in one forward pass; changes no count.
        workers: Loading processes; 0 loads in this process.
        device: Where the networks are.

    Raises:
        DataError: A label is neither a class nor the ignore index.
    """
    truths: dict[int, _Truth] = {}
    found: list[list[Quality]] = [[] for _ in nets]

    def look(view: View) -> None:
        if view.net == 0:
            truths[view.image] = _truth(view.label, data.ignore_index, rules)
        found[view.net].append(_of_image(view, truths[view.image], data, rules))
        if view.net == len(nets) - 1:
            del truths[view.image]

    infer(nets, reference, data.report, look, batch_size=batch_size, workers=workers, device=device)
    return tuple(_pooled(parts) for parts in found)


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """What is known of one image from its label alone; arrays are (h, w).

    Attributes:
        label: int16, 0..K-1 where it is scored.
        scored: Whether the pixel has a class.
        border: Its ``border_band``.
        objects: Its ``small_objects``.
    """

    label: NDArray[np.int16]
    scored: NDArray[np.bool_]
    border: NDArray[np.bool_]
    objects: NDArray[np.int32]


def _truth(label: Tensor, ignore_index: int, rules: Rules) -> _Truth:
    values = label.cpu().numpy()
    scored, classes = values != ignore_index, values.astype(np.int16)
    return _Truth(
        label=classes,
        scored=scored,
        border=border_band(classes, scored, width=rules.boundary_width),
        objects=small_objects(classes, scored, area=rules.small_object_area),
    )


def _of_image(view: View, truth: _Truth, data: SegData, rules: Rules) -> Quality:
    confusion = ConfusionMatrix(num_classes=len(data.classes), ignore_index=data.ignore_index)
    confusion.update(view.prediction[None], view.label[None])
    prediction = view.prediction.cpu().numpy().astype(np.int16)
    return Quality(
        image_counts=confusion.counts.int()[None],  # (1, K, K)
        boundary=boundary_counts(
            prediction,
            truth.label,
            truth.scored,
            truth.border,
            num_classes=len(data.classes),
            width=rules.boundary_width,
        ),
        small_objects=small_object_counts(prediction, truth.label, truth.objects),
        reconstruction=reconstruction_sums(
            view.logits, view.prediction, view.reference, view.label != data.ignore_index
        ),
    )


def _pooled(images: Sequence[Quality]) -> Quality:
    return Quality(
        image_counts=torch.cat([image.image_counts for image in images]),
        boundary=torch.stack([image.boundary for image in images]).sum(dim=0),
        small_objects=torch.stack([image.small_objects for image in images]).sum(dim=0),
        reconstruction=torch.stack([image.reconstruction for image in images]).sum(dim=0),
    )
