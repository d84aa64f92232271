from typing import Any

import pytest
import torch

from segprune.stage.idle import idle
from segprune.stage.state import NetState
from tests.tiny import tiny_net
from tests.toys import Residual


class Moved(Residual):
    """Remembers where it was sent, since there is no GPU to go to."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def to(self, *args: Any, **kwargs: Any) -> "Moved":
        self.places.append(str(args[0]))
        return self

    def cpu(self) -> "Moved":
        return self.to("cpu")


def state(net: object) -> NetState:
    return NetState(name="dense", net=net, transforms=(), fingerprint="dense")


def leaves_in_the_middle(net: Moved) -> None:
    with idle([state(net), state(lambda image: image)], torch.device("cuda", 1)):
        assert net.places == ["cpu"]
        raise KeyError


def test_networks_leave_the_gpu_and_come_back_also_after_an_error() -> None:
    net = Moved()
    with pytest.raises(KeyError):
        leaves_in_the_middle(net)
    assert net.places == ["cpu", "cuda:1"]


def test_on_a_cpu_nothing_moves() -> None:
    net = tiny_net()
    before = {name: value.data_ptr() for name, value in net.state_dict().items()}
    with idle([state(net)], torch.device("cpu")):
        assert {name: value.data_ptr() for name, value in net.state_dict().items()} == before
