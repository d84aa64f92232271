from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import DataError
from segprune.measure.evaluate import evaluate
from segprune.model.contract import SegmentationNet

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
