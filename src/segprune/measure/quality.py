"""What networks predict on a split, as counts from which every quality number follows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from segprune.dataset.contract import Batch, Items, SegData
from segprune.measure.boundary import border_band, boundary_counts
from segprune.measure.hausdorff import hausdorff_sums
from segprune.measure.inference import View, infer
from segprune.measure.miou import refuse_no_class, refuse_unknown
from segprune.measure.passes import ONE_PASS, Passes
from segprune.measure.reconstruction import reconstruction_sums
from segprune.measure.small_objects import small_object_counts, small_objects
from segprune.model.contract import Predicts


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is measured beyond the confusion counts.

    Attributes:
        boundary_width: Width of the border bands, as a fraction of the image's diagonal.
        small_object_area: Objects with less than this fraction of the image's pixels are small.
        hd95: Whether distances of borders are measured, which takes time.
    """

    boundary_width: float
    small_object_area: float
    hd95: bool = False


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What one network predicts on a split.

    Attributes:
        image_counts: (N, K, K) int32, confusion counts of each image; rows true, columns predicted.
        boundary: (3, K) int64, see ``boundary_counts``.
        small_objects: (2,) int64, see ``small_object_counts``.
        reconstruction: (3,) float64 against the reference network, see ``reconstruction_sums``.
        hausdorff: (3,) float64, see ``hausdorff_sums``; zeros where that is not measured.
    """

    image_counts: Tensor
    boundary: Tensor
    small_objects: Tensor
    reconstruction: Tensor
    hausdorff: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    @property
    def counts(self) -> Tensor:
        """(K, K) int64, pooled over the split."""
        return self.image_counts.sum(dim=0, dtype=torch.int64)


def assess(  # noqa: PLR0913 - all but four by name
    nets: Sequence[Predicts],
    reference: Predicts,
    data: SegData,
    rules: Rules,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    passes: Passes = ONE_PASS,
) -> tuple[Quality, ...]:
    """Measure networks on the report split in one pass, side by side with a reference network; see ``infer``.

    Args:
        nets: On ``device``; the reference may be one of them.
        reference: On ``device``; runs once per image.
        data: The dataset.
        rules: What is measured.
        batch_size: Most images in one forward pass; changes no count on a CPU.
        workers: Loading processes; 0 loads in this process.
        device: Where the networks are.
        passes: How every image is shown to them.

    Raises:
        DataError: A label is neither a class nor the ignore index.
    """
    truths: dict[int, _Truth] = {}
    found: list[list[Quality]] = [[] for _ in nets]

    def look(view: View) -> None:
        if view.net == 0:
            truths[view.image] = _truth(view.label, data, rules)
        found[view.net].append(_of_image(view, truths[view.image], data, rules))
        if view.net == len(nets) - 1:
            del truths[view.image]

    items = _WithObjects(data.report, data.ignore_index, rules.small_object_area)
    infer(nets, reference, items, look, batch_size=batch_size, workers=workers, device=device, passes=passes)
    return tuple(_pooled(parts) for parts in found)


class _WithObjects:
    """Items whose label has a second plane, the numbers of its small objects: made where items are loaded."""

    def __init__(self, items: Items, ignore_index: int, area: float) -> None:
        self._items, self._ignore_index, self._area = items, ignore_index, area

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int, /) -> Batch:
        """Image (3, H, W) and label (2, h, w) int32."""
        image, label = self._items[index]
        classes = label.numpy().astype(np.int16)
        objects = small_objects(classes, classes != self._ignore_index, area=self._area)
        return Batch(image, torch.stack([label.int(), torch.from_numpy(objects)]))


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """What is known of one image from its label alone, on the device; tensors are (h, w).

    Attributes:
        label: int64, 0..K-1 where it is scored.
        scored: Whether the pixel has a class.
        border: Its ``border_band``.
        objects: Its ``small_objects``.
        sizes: (n,) their pixels.
    """

    label: Tensor
    scored: Tensor
    border: Tensor
    objects: Tensor
    sizes: Tensor


def _truth(planes: Tensor, data: SegData, rules: Rules) -> _Truth:
    """Of the label (2, h, w) of ``_WithObjects``."""
    label, objects = planes[0].long(), planes[1]
    scored = label != data.ignore_index
    refuse_unknown(label, scored, len(data.classes), data.ignore_index)
    return _Truth(
        label=label,
        scored=scored,
        border=border_band(label, scored, width=rules.boundary_width),
        objects=objects,
        sizes=torch.bincount(objects.flatten())[1:],
    )


def _of_image(view: View, truth: _Truth, data: SegData, rules: Rules) -> Quality:
    """Counts of one image, where the logits are."""
    if len(view.logits) > len(data.classes):
        refuse_no_class(view.prediction, truth.scored, len(data.classes))
    band = border_band(view.prediction, truth.scored, width=rules.boundary_width)
    pixels = pixel_counts(view.prediction, truth.label, truth.scored, truth.border, band, len(data.classes))
    return Quality(
        image_counts=pixels.sum((2, 3)).int()[None],  # (1, K, K)
        boundary=boundary_counts(pixels),
        small_objects=small_object_counts(view.prediction == truth.label, truth.objects, truth.sizes),
        reconstruction=reconstruction_sums(
            view.logits, view.reference, view.prediction == view.expected, truth.scored
        ),
        hausdorff=hausdorff_sums(view.prediction, truth.label, truth.scored, len(data.classes))
        if rules.hd95
        else torch.zeros(3, dtype=torch.float64),
    )


def pixel_counts(
    prediction: Tensor, label: Tensor, scored: Tensor, border: Tensor, band: Tensor, classes: int
) -> Tensor:
    """The scored pixels of one image by all that is counted, in one pass over them.

    Args:
        prediction: (h, w) int64, 0..K-1 where it is scored.
        label: Likewise.
        scored: (h, w) bool, as the next two.
        border: Whether the pixel is in the border band of the label.
        band: Whether it is in that of the prediction.
        classes: K.

    Returns:
        (K, K, 2, 2) int64, by label, prediction, border and band.
    """
    cell = ((label * classes + prediction) * 2 + border) * 2 + band
    behind = 4 * classes * classes  # where unscored pixels go, which is cheaper than selecting the others
    counted = torch.bincount(torch.where(scored, cell, behind).flatten(), minlength=behind + 1)
    return counted[:-1].view(classes, classes, 2, 2)


def _pooled(images: Sequence[Quality]) -> Quality:
    """The counts of all images, on the CPU."""
    return Quality(
        image_counts=torch.cat([image.image_counts for image in images]).cpu(),
        boundary=torch.stack([image.boundary for image in images]).cpu().sum(dim=0),
        small_objects=torch.stack([image.small_objects for image in images]).cpu().sum(dim=0),
        reconstruction=torch.stack([image.reconstruction for image in images]).cpu().sum(dim=0),
        hausdorff=torch.stack([image.hausdorff for image in images]).sum(dim=0),
    )
