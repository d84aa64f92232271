from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import DataError
from segprune.measure.quality import Quality, Rules, assess, evaluate
from segprune.model.contract import SegmentationNet
from tests.tiny import tiny_data

CPU = torch.device("cpu")


class Listed:
    """Items from a list."""

    def __init__(self, items: Sequence[Batch]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        return self.items[index]


class Stripes(SegmentationNet):
    """Its logits are the image's channels, at half the size; the norm makes training mode visible."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.norm.eps = 0.0

    def forward(self, image: Tensor) -> Tensor:
        return F.avg_pool2d(self.norm(image), 2)


def one_hot(columns: Sequence[int], height: int) -> Tensor:
    """(3, height, W) image whose column x is 1 in channel ``columns[x]``."""
    return (
        F.one_hot(torch.tensor(columns), 3).T.float()[:, None, :].expand(3, height, len(columns)).contiguous()
    )


def counts_of(net: SegmentationNet, items: Sequence[Batch], batch_size: int = 2) -> Tensor:
    return evaluate(
        net, Listed(items), num_classes=3, ignore_index=255, batch_size=batch_size, workers=0, device=CPU
    )


def test_logits_are_upsampled_bilinearly_to_the_labels_own_size() -> None:
    # Logits columns (1, 0, 0) and (0, 0, 3), half the image's four, for labels of 8 columns: class 2 wins
    # where its column has more than a quarter of the weight. With align_corners=False label column x takes
    # (x + 0.5) / 4 - 0.5 of it, clipped: 0, 0, 1/8, 3/8, ...; hence 0 0 0 2 2 2 2 2. (With align_corners=True
    # it takes x / 7, and column 2 would already be class 2.) One label pixel is void, one disagrees.
    image = one_hot([0, 0, 2, 2], 4) * torch.tensor([1.0, 1.0, 3.0])[:, None, None]
    label = torch.tensor([[0, 1, 0, 255, 2, 2, 2, 2]]).expand(4, 8)
    counts = counts_of(Stripes(), [Batch(image=image, label=label)])
    assert counts.dtype == torch.int64
    assert counts.tolist() == [[8, 0, 0], [4, 0, 0], [0, 0, 16]]


def test_the_argmax_is_taken_after_the_upsampling() -> None:
    # Logits columns: 0, 1 and, weakly, 2 of channel weights below. Upsampled 2 -> 4 columns, the inner ones
    # mix 3/4 with 1/4: (1.0, 0.9, 0) and (0, 0.9, 1.0) give 0.75, 0.9, 0.25: class 1, which no logits
    # column has as its largest.
    image = torch.tensor([[1.0, 1, 0, 0], [0.9, 0.9, 0.9, 0.9], [0, 0, 1, 1]])[:, None, :].expand(3, 2, 4)
    counts = counts_of(Stripes(), [Batch(image=image.contiguous(), label=torch.tensor([[0, 1, 1, 2]]))])
    assert counts.diagonal().tolist() == [1, 2, 1]


def test_batch_size_and_items_of_other_sizes_do_not_change_the_counts() -> None:
    generator = torch.Generator().manual_seed(1)
    sizes = [(4, 6), (4, 6), (8, 4), (4, 6), (2, 2)]
    items = [
        Batch(
            image=torch.rand(3, h, w, generator=generator),
            label=torch.randint(0, 3, (h + 1, w + 3), generator=generator),
        )
        for h, w in sizes
    ]
    one_by_one = counts_of(Stripes(), items, batch_size=1)
    assert int(one_by_one.sum()) == sum((h + 1) * (w + 3) for h, w in sizes)
    assert torch.equal(one_by_one, counts_of(Stripes(), items, batch_size=4))


def test_the_network_is_left_as_it_was() -> None:
    net = Stripes()
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    counts_of(net, [Batch(image=torch.rand(3, 4, 4), label=torch.zeros(4, 4, dtype=torch.int64))])
    assert net.training
    assert net.norm.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_half_precision_around_the_call_does_not_reach_the_network() -> None:
    seen = []

    class Recording(Stripes):
        def forward(self, image: Tensor) -> Tensor:
            seen.append((image @ image.transpose(-1, -2)).dtype)
            return super().forward(image)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        counts_of(Recording(), [Batch(image=torch.rand(3, 4, 4), label=torch.zeros(4, 4, dtype=torch.int64))])
    assert seen == [torch.float32]


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(DataError, match="label 9 is neither a class"):
        counts_of(Stripes(), [Batch(image=torch.rand(3, 4, 4), label=torch.full((4, 4), 9))])


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
