from torch import nn

from segprune.graph.layers import is_depthwise


def test_depthwise_means_one_output_channel_of_each_input_channel():
    assert is_depthwise(nn.Conv2d(4, 4, 3, groups=4))
    assert is_depthwise(nn.ConvTranspose2d(4, 4, 2, groups=4))
    assert not is_depthwise(nn.Conv2d(4, 8, 3, groups=4))
    assert not is_depthwise(nn.Conv2d(8, 4, 3, groups=4))
    assert not is_depthwise(nn.Conv2d(4, 4, 3, groups=2))
    assert not is_depthwise(nn.Conv2d(1, 1, 3))
    assert not is_depthwise(nn.BatchNorm2d(4))
