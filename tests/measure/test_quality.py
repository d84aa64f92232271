from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from segprune.dataset.contract import Batch
from segprune.errors import DataError
from segprune.measure import boundary
from segprune.measure.quality import Quality, Rules, assess
from segprune.model.contract import SegmentationNet
from tests.measure.test_evaluate import Listed, Stripes, counts_of
from tests.tiny import tiny_data

CPU = torch.device("cpu")


def report(count: int = 5) -> Listed:
    generator = torch.Generator().manual_seed(2)
    labels = [torch.randint(0, 4, (8, 8), generator=generator) for _ in range(count)]
    for label in labels:
        label[label == 3] = 255
    return Listed([Batch(image=torch.rand(3, 8, 8, generator=generator), label=label) for label in labels])


class Doubled(Stripes):
    """Twice the logits, and class 0 instead of class 1 in the upper half."""

    def forward(self, image: Tensor) -> Tensor:
        logits = 2 * super().forward(image)
        logits[:, 1, :2] = -10.0
        return logits


def assessed(
    nets: Sequence[SegmentationNet], reference: SegmentationNet, batch_size: int = 2
) -> tuple[Quality, ...]:
    data = tiny_data(report=report(), classes=("a", "b", "c"))
    rules = Rules(boundary_width=0.1, small_object_area=0.1)
    return assess(nets, reference, data, rules, batch_size=batch_size, workers=0, device=CPU)


def same(one: Quality, other: Quality) -> bool:
    counts = all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("image_counts", "boundary", "small_objects")
    )
    return counts and torch.allclose(one.reconstruction, other.reconstruction)


def test_image_counts_are_those_of_each_image_alone_and_pool_to_those_of_the_split() -> None:
    (quality,) = assessed([Stripes()], Stripes())
    items = report().items
    assert (quality.image_counts.shape, quality.image_counts.dtype) == ((5, 3, 3), torch.int32)
    for index, item in enumerate(items):
        assert torch.equal(quality.image_counts[index].long(), counts_of(Stripes(), [item]))
    assert torch.equal(quality.counts, counts_of(Stripes(), items))


def test_networks_measured_together_are_measured_as_each_alone() -> None:
    dense, cut = Stripes(), Doubled()
    together = assessed([dense, cut], dense)
    assert same(together[0], *assessed([dense], dense))
    assert same(together[1], *assessed([cut], dense))
    assert same(together[1], assessed([dense, cut], dense, batch_size=5)[1])
    assert not torch.equal(together[0].counts, together[1].counts)


def test_what_is_counted_fits_together() -> None:
    dense, cut = assessed(nets := [Stripes(), Doubled()], nets[0])
    scored = int(dense.counts.sum())
    assert dense.reconstruction.tolist() == [0, scored, scored]
    assert 0 < cut.reconstruction[1] < scored
    assert dense.small_objects[0] == cut.small_objects[0] > 0  # a property of the labels
    assert torch.equal(dense.boundary[1], cut.boundary[1])  # the labels' borders
    assert (dense.boundary[0] <= dense.boundary[1:].amin(0)).all()
    assert cut.counts.sum(1).tolist() == dense.counts.sum(1).tolist()  # the labels' classes


def test_an_unknown_label_is_refused_there_too() -> None:
    data = tiny_data(
        report=Listed([Batch(torch.rand(3, 4, 4), torch.full((4, 4), 9))]), classes=("a", "b", "c")
    )
    rules = Rules(boundary_width=0.1, small_object_area=0.1)
    with pytest.raises(DataError, match="label 9 is neither a class"):
        assess([Stripes()], Stripes(), data, rules, batch_size=1, workers=0, device=CPU)


WIDTH, AREA, CLASSES, VOID = 0.04, 0.02, 5, 255


class Given(SegmentationNet):
    """Its logits are large where the image says so: channel 0 of the image is the class by 10."""

    def forward(self, image: Tensor) -> Tensor:
        return F.one_hot((image[:, 0] * 10).round().long(), CLASSES).permute(0, 3, 1, 2).float()


def slowly(prediction: NDArray[np.int64], label: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Confusion, boundary and small-object counts of one image, each by its definition."""
    scored = label != VOID
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(confusion, (label[scored], prediction[scored]), 1)
    bands, reach = [], max(1, round(WIDTH * np.hypot(*label.shape)))
    for classes in (label, prediction):
        band = np.zeros(label.shape, bool)
        for value in range(CLASSES):
            mask = scored & (classes == value)
            others = scored & (classes != value)
            band |= mask & ndimage.maximum_filter(others, 2 * reach + 1, mode="constant", cval=0)
        bands.append(band)
    both = bands[0] & bands[1] & (prediction == label)
    borders = [
        [int((classes[band] == k).sum()) for k in range(CLASSES)]
        for classes, band in ((label, both), (label, bands[0]), (prediction, bands[1]))
    ]
    objects = recalled = 0
    for value in range(CLASSES):
        parts, count = ndimage.label(scored & (label == value), np.ones((3, 3)))
        for part in range(1, count + 1):
            mask = parts == part
            if mask.sum() < AREA * label.size:
                objects += 1
                recalled += 2 * (prediction == label)[mask].sum() >= mask.sum()
    return torch.from_numpy(confusion), torch.tensor(borders), torch.tensor([objects, int(recalled)])


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_count_is_that_of_its_definition_on_random_labels(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "gpu":  # what a GPU computes runs on a CPU too
        monkeypatch.setattr(boundary, "_around_on_cpu", boundary._around)
    draw = np.random.default_rng(0)
    items, expected = [], []
    for block in (1, 3, 7):
        size = (-(-40 // block), -(-56 // block))
        label, prediction = (
            np.kron(draw.integers(0, CLASSES, size), np.ones((block, block), np.int64))[:40, :56]
            for _ in "ab"
        )
        prediction = np.where(draw.random(label.shape) < 0.6, label, prediction)
        label = np.where(cv2.blur(draw.random(label.shape), (3, 3)) < 0.4, VOID, label)
        items.append(
            Batch(torch.from_numpy(prediction / 10).float().expand(3, -1, -1), torch.from_numpy(label))
        )
        expected.append(slowly(prediction, label))
    data = tiny_data(report=Listed(items), classes=tuple("abcde"))
    rules = Rules(boundary_width=WIDTH, small_object_area=AREA)
    (found,) = assess([Given()], Given(), data, rules, batch_size=2, workers=0, device=CPU)
    confusion, borders, objects = (torch.stack(one) for one in zip(*expected, strict=True))
    assert torch.equal(found.image_counts.long(), confusion)
    assert torch.equal(found.boundary, borders.sum(0))
    assert torch.equal(found.small_objects, objects.sum(0))
    assert objects.sum(0).min() > 5
    assert borders.sum(0).min() > 5


def test_a_prediction_that_is_no_class_is_refused() -> None:
    rules = Rules(boundary_width=0.1, small_object_area=0.1)
    item = Batch(torch.rand(3, 8, 8), torch.zeros(8, 8, dtype=torch.int64))
    data = tiny_data(report=Listed([item]), classes=("a", "b"))
    with pytest.raises(ValueError, match="is not a class"):
        assess([Third()], Third(), data, rules, batch_size=1, workers=0, device=CPU)


class Third(Stripes):
    """Always predicts its third class."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * 0 + torch.tensor([0.0, 0.0, 1.0])[:, None, None]
