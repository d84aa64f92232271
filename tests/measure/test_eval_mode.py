import pytest
from torch import nn

from segprune.measure.eval_mode import eval_mode


def partly_frozen() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    net.train()
    net[1].eval()
    return net


def flags(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def test_every_module_evaluates_within_and_has_its_own_flag_after() -> None:
    net = partly_frozen()
    with eval_mode(net):
        assert flags(net) == [False, False, False]
    assert flags(net) == [True, True, False]


def test_what_is_no_module_has_no_flag() -> None:
    with eval_mode(lambda image: image):
        pass


def test_flags_come_back_after_an_error() -> None:
    net = partly_frozen()
    with pytest.raises(KeyError, match="lost"), eval_mode(net):
        raise KeyError("lost")
    assert flags(net) == [True, True, False]
