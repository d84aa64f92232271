import torch

from segprune.model.contract import SegmentationNet
from segprune.model.initial import initial
from tests.toys import Residual


def make(num_classes: int) -> SegmentationNet:
    assert num_classes == 4
    return Residual()


def weights(seed: int) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in initial(make, num_classes=4, seed=seed).parameters()])


def test_initial_weights_depend_on_the_seed_alone_and_leave_the_random_numbers_as_they_were() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = weights(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)
