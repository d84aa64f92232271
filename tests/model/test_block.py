import pytest
import torch
from torch import nn

from segprune.model.block import conv_bn_relu, initialise, level_widths


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_block_keeps_the_size_and_gives_no_negative_value(kernel_size):
    block = conv_bn_relu(3, 7, kernel_size=kernel_size)
    features = block(torch.randn(2, 3, 11, 14))
    assert features.shape == (2, 7, 11, 14)
    assert features.min() == 0


def test_block_counts_one_bias_per_channel():
    block = conv_bn_relu(3, 7, kernel_size=3)
    assert sum(parameter.numel() for parameter in block.parameters()) == 3 * 7 * 9 + 2 * 7


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(64, 256, 3, padding=1), nn.ConvTranspose2d(64, 256, 2, stride=2)],
    ids=["conv", "transposed"],
)
def test_initialised_layer_followed_by_relu_keeps_the_second_moment(layer):
    # arXiv:1502.01852: with x = relu(symmetric y), E[x^2] = Var[y] / 2, and weights of variance 2 / fan_in
    # restore it
    torch.manual_seed(0)
    initialise(layer)
    x = torch.randn(2, 64, 32, 32).relu()
    with torch.no_grad():
        y = layer(x)[..., 2:-2, 2:-2]  # away from the padding
    assert torch.all(layer.bias == 0)
    assert float(y.relu().square().mean()) == pytest.approx(float(x.square().mean()), rel=0.1)


def test_initialise_follows_the_global_generator():
    layers = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        layers.append(nn.Conv2d(3, 4, 3))
        initialise(layers[-1])
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert not torch.equal(layers[0].weight, layers[2].weight)


def test_widths_double_up_to_the_largest():
    assert level_widths(width=16, max_width=96, depth=5) == (16, 32, 64, 96, 96)
    assert level_widths(width=16, max_width=8, depth=2) == (8, 8)
