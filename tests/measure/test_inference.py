from collections.abc import Sequence
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segprune import stop
from segprune.dataset.contract import Batch
from segprune.measure.inference import View, _largest, _resized, infer
from segprune.model.contract import SegmentationNet
from tests.measure.test_evaluate import Listed, Stripes

CPU = torch.device("cpu")


class Counted(Stripes):
    """Adds a number to the logits of class 0, and counts its forward passes."""

    def __init__(self, bonus: float) -> None:
        super().__init__()
        self.bonus, self.passes = bonus, 0

    def forward(self, image: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(image) + torch.tensor([self.bonus, 0, 0])[:, None, None]


def items(count: int = 5) -> Listed:
    generator = torch.Generator().manual_seed(0)
    labels = [torch.full((6, 4), index % 3) for index in range(count)]
    return Listed([Batch(image=torch.rand(3, 4, 4, generator=generator), label=label) for label in labels])


def views(nets: Sequence[SegmentationNet], reference: SegmentationNet, batch_size: int = 2) -> list[View]:
    seen: list[View] = []
    infer(nets, reference, items(), seen.append, batch_size=batch_size, workers=0, device=CPU)
    return seen


def test_every_network_sees_every_image_once_beside_the_reference() -> None:
    nets = [Counted(0.0), Counted(5.0)]
    seen = views(nets, nets[0])
    assert sorted((view.net, view.image) for view in seen) == [
        (net, image) for net in (0, 1) for image in range(5)
    ]
    for view in seen:
        assert torch.equal(view.label, torch.full((6, 4), view.image % 3))
        assert view.logits.shape == view.reference.shape == (3, 6, 4)
        assert torch.equal(view.prediction, view.logits.argmax(0))
        assert torch.equal(view.expected.long(), view.reference.argmax(0))
        # an upsampled constant is the constant
        difference = (view.logits - view.reference)[0]
        assert torch.allclose(difference, torch.full((6, 4), nets[view.net].bonus), atol=1e-5)


def test_the_first_of_equal_logits_wins_and_what_is_no_number_wins_always() -> None:
    logits = torch.randint(0, 3, (5, 20, 30), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(_largest(logits), logits.argmax(0))
    logits[3, ::2] = torch.nan
    assert torch.equal(_largest(logits), logits.argmax(0))
    assert _largest(torch.tensor([[[1.0]], [[2.0]], [[2.0]]])).item() == 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_logits_of_the_labels_size_are_what_resizing_would_give(layout: torch.memory_format) -> None:
    batch = torch.randn(2, 5, 7, 9, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    kept = _resized(batch[1], torch.zeros(7, 9))
    resized = F.interpolate(batch[1][None], size=(7, 9), mode="bilinear", align_corners=False)[0]
    assert torch.equal(kept, resized)
    assert kept.stride() == resized.stride()  # and sums over it round alike
    assert _resized(batch[1], torch.zeros(2, 14, 9)).shape == (5, 14, 9)


def test_a_network_is_run_once_per_batch_and_so_is_the_reference_wherever_it_is() -> None:
    reference, other = Counted(0.0), Counted(1.0)
    views([reference, other], reference)
    assert (reference.passes, other.passes) == (3, 3)  # 5 images in batches of 2
    views([other], reference)
    assert (reference.passes, other.passes) == (6, 6)


def test_a_runner_is_seen_as_the_network_that_it_runs() -> None:
    net = Counted(0.4).eval()
    seen = views([net, net.forward], net)
    assert len(seen) == 10
    for mine, ran in product(seen, seen):
        if mine.image == ran.image:
            assert torch.equal(mine.logits, ran.logits)


def test_a_batch_size_changes_nothing_that_is_seen() -> None:
    nets = [Counted(0.0), Counted(0.3)]
    key = {"key": lambda view: (view.net, view.image)}
    one, four = sorted(views(nets, nets[0], 1), **key), sorted(views(nets, nets[0], 4), **key)
    for a, b in zip(one, four, strict=True):
        assert torch.allclose(a.logits, b.logits)
        assert torch.equal(a.label, b.label)


def test_all_networks_are_left_as_they_were() -> None:
    reference, other = Counted(0.0), Counted(1.0)
    reference.train()
    reference.norm.eval()
    views([reference, other.eval()], reference)
    assert (reference.training, reference.norm.training, other.training) == (True, False, False)


def test_a_stop_that_was_asked_for_ends_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stop, "if_asked", ask)
    net = Counted(0.0)
    with pytest.raises(KeyboardInterrupt):
        views([net], net)
    assert net.passes == 0
