import math

import pytest
import torch
from torch import Tensor

from segprune.deploy.parity import Parity, parity
from tests.toys import Residual, toy

IMAGES = torch.tensor([[[[0.1, 0.9]], [[0.5, 0.2]], [[0.3, 0.4]]]])  # (1, 3, 1, 2)


def same(image: Tensor) -> Tensor:
    return 10 * image


def shifted(image: Tensor) -> Tensor:
    """The second class gains 1 everywhere, and 9 where the image's first channel is 0.9."""
    return 10 * image + torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1) * (1 + 8 * (image[:, :1] == 0.9))


def test_the_worked_example() -> None:
    # logits (1, 5, 3) and (9, 2, 4); the other has (1, 6, 3) and (9, 11, 4): errors 1 and 9, one argmax moves
    found = parity(same, shifted, [IMAGES])
    assert found.max_abs_error == pytest.approx(9)
    assert found.max_abs_logit == pytest.approx(9)
    assert found.relative_error == pytest.approx(1)
    assert (found.argmax_agreement, found.images) == (0.5, 1)


def test_batches_make_no_difference() -> None:
    images = torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    whole = parity(same, shifted, [images])
    assert parity(same, shifted, [images[:2], images[2:]]) == whole
    assert whole.images == 5


def test_a_network_is_itself_in_either_mode_and_keeps_it() -> None:
    net = toy(Residual).train()
    found = parity(net, toy(Residual), [torch.rand(2, 3, 16, 16)])
    assert (found.max_abs_error, found.relative_error, found.argmax_agreement) == (0, 0, 1)
    assert net.training


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_finite_meets_no_tolerance(bad: float, side: int) -> None:
    def broken(image: Tensor) -> Tensor:
        return torch.cat([10 * image[:1], torch.full_like(image[1:], bad)])

    pair = [same, same]
    pair[side] = broken
    found = parity(*pair, [torch.rand(2, 3, 2, 2), torch.rand(1, 3, 2, 2)])
    assert not found.relative_error < 1e30


def test_zeros_have_no_scale() -> None:
    assert Parity(max_abs_error=0.5, max_abs_logit=0.0, argmax_agreement=1.0, images=1).relative_error == 0.5


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        parity(same, same, [])
    with pytest.raises(ValueError, match=r"shape \(1, 1, 1, 2\) instead of \(1, 3, 1, 2\)"):
        parity(same, lambda image: image[:, :1], [IMAGES])
