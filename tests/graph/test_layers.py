import pytest
from torch import nn

from segprune.graph.layers import channel_axis, is_depthwise, parts_of


def test_depthwise_means_one_output_channel_of_each_input_channel():
    assert is_depthwise(nn.Conv2d(4, 4, 3, groups=4))
    assert is_depthwise(nn.ConvTranspose2d(4, 4, 2, groups=4))
    assert not is_depthwise(nn.Conv2d(4, 8, 3, groups=4))
    assert not is_depthwise(nn.Conv2d(8, 4, 3, groups=4))
    assert not is_depthwise(nn.Conv2d(4, 4, 3, groups=2))
    assert not is_depthwise(nn.Conv2d(1, 1, 3))
    assert not is_depthwise(nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    ("layer", "makes", "reads"),
    [
        (nn.Conv2d(4, 6, 3), 0, 1),
        (nn.ConvTranspose2d(4, 6, 3), 1, 0),
        (nn.Linear(4, 6), 0, 1),
        (nn.Conv2d(4, 4, 3, groups=4), 0, None),
        (nn.ConvTranspose2d(4, 4, 3, groups=4), 0, None),
        (nn.BatchNorm2d(4), 0, None),
        (nn.PReLU(4), 0, None),
    ],
)
def test_the_axis_of_a_weight_that_goes_with_the_channels(layer: nn.Module, makes: int, reads: int | None):
    assert channel_axis(layer, "weight", "out") == channel_axis(layer, "weight", "scale") == makes
    assert channel_axis(layer, "weight", "in") == reads
    assert channel_axis(layer, "bias", "out") == 0
    assert channel_axis(layer, "bias", "in") is None


def test_layers_are_told_by_the_largest_modules_that_have_no_others() -> None:
    head = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    decode = nn.ModuleDict({"main": nn.Conv2d(3, 2, 1), "aux": head})
    net = nn.ModuleDict({"net": nn.ModuleDict({"decode": decode, "other": nn.Conv2d(3, 2, 1)})})
    aux = [f"net.decode.aux.{number}" for number in (0, 1, 3)]
    assert parts_of(net, aux) == ["decode.aux"]
    assert parts_of(net, [*aux, "net.decode.main"]) == ["decode"]
    assert parts_of(net, [*aux[:2], "net.other"]) == ["decode.aux.0", "decode.aux.1", "other"]
