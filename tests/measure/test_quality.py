from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from segprune.dataset.contract import Batch
from segprune.errors import DataError
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
