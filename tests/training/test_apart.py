import torch
from torch import nn

from segprune.training.apart import apart


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.second.weight = self.first.weight
        self.first.bias.requires_grad_(False)
        self.register_buffer("mean", torch.ones(3), persistent=False)
        self.register_buffer("nothing", None)


def test_a_network_that_was_taken_apart_is_the_same_again() -> None:
    net = Tied()
    found = apart(net)
    assert list(found.bare.parameters()) == list(found.bare.buffers()) == []
    again = found.whole()
    assert list(again.state_dict()) == list(net.state_dict())
    for value, expected in zip(again.state_dict().values(), net.state_dict().values(), strict=True):
        assert torch.equal(value, expected)
    assert again.second.weight is again.first.weight
    assert not again.first.bias.requires_grad
    assert again.second.bias.requires_grad
    assert torch.equal(again.mean, net.mean)
    assert again.nothing is None
    assert again.first.weight is not net.first.weight  # and the given one has its own still
