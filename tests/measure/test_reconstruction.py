import pytest
import torch
from torch import Tensor

from segprune.measure.reconstruction import reconstruction, reconstruction_sums

# two classes, three pixels in a row: logits of the classes for each pixel
DENSE = torch.tensor([[[1.0, 0.0, 5.0]], [[0.0, 2.0, 0.0]]])
CUT = torch.tensor([[[3.0, 4.0, 0.0]], [[0.0, 0.0, 9.0]]])
SCORED = torch.tensor([[True, True, False]])


def sums_of(logits: Tensor, reference: Tensor, scored: Tensor) -> Tensor:
    return reconstruction_sums(logits, reference, logits.argmax(0) == reference.argmax(0), scored)


def test_sums_of_one_image_worked_by_hand() -> None:
    # squared differences: pixel 0: (4 + 0) / 2 = 2; pixel 1: (16 + 4) / 2 = 10; pixel 2 is void.
    # classes: dense 0 1, cut 0 0: one of two agrees
    sums = sums_of(CUT, DENSE, SCORED)
    assert sums.dtype == torch.float64
    assert sums.tolist() == [12, 1, 2]
    found = reconstruction(sums)
    assert (found.logit_mse, found.argmax_agreement) == (6, 0.5)


def test_a_split_is_a_mean_over_pixels_and_not_over_images() -> None:
    every = torch.ones(1, 3, dtype=torch.bool)
    # the second image: 2 + 10 + (25 + 81) / 2 = 65 over three pixels, of which one agrees
    found = reconstruction(sums_of(CUT, DENSE, SCORED) + sums_of(CUT, DENSE, every))
    assert found.logit_mse == pytest.approx((12 + 65) / 5)
    assert found.argmax_agreement == pytest.approx(2 / 5)


def test_a_network_reconstructs_itself() -> None:
    found = reconstruction(sums_of(DENSE, DENSE, SCORED))
    assert (found.logit_mse, found.argmax_agreement) == (0, 1)


def test_what_happens_on_void_pixels_does_not_matter() -> None:
    broken = CUT.clone()
    broken[:, ~SCORED] = torch.inf
    assert torch.equal(sums_of(broken, DENSE, SCORED), sums_of(CUT, DENSE, SCORED))
