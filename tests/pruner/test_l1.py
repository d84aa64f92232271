import pytest
import torch
from torch import nn

from segprune.errors import ConfigError, TrainingError
from segprune.pruner.l1 import L1
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, group_of, network_of, scores_of, traced, whole
from tests.toys import Depthwise, toy


class TestL1(PrunerBattery):
    paper_scope = "local"
    duplicates = "equal"

    @staticmethod
    def build() -> L1:
        return L1(normalize="none")


class TestL1Mean(PrunerBattery):
    paper_scope = "local"
    duplicates = "equal"

    @staticmethod
    def build() -> L1:
        return L1(normalize="mean")


def test_absolute_weights_are_summed():
    net = network_of(conv_of([[1.0, -2.0], [3.0, 0.0], [0.0, 0.0]]))
    assert scores_of(L1(normalize="none"), net, whole(3, "0"))["0"].tolist() == [3.0, 3.0, 0.0]


def test_biases_and_norms_do_not_count():
    bare = network_of(conv_of([[1.0, -2.0], [3.0, 1.0]]))
    dressed = network_of(conv_of([[1.0, -2.0], [3.0, 1.0]], bias=9.0), nn.BatchNorm2d(2))
    nn.init.constant_(dressed.get_submodule("1").weight, 7.0)
    first = scores_of(L1(normalize="none"), bare, whole(2, "0"))["0"]
    second = scores_of(L1(normalize="none"), dressed, whole(2, "0", "1"))["0"]
    assert torch.equal(first, second)


def test_the_global_variant_divides_by_the_mean_of_the_group():
    # sums 1 and 3, mean 2
    net = network_of(conv_of([[1.0], [-3.0]]))
    assert scores_of(L1(normalize="mean"), net, whole(2, "0"))["0"].tolist() == [0.5, 1.5]


def test_filters_of_a_residual_stream_count_alike_whatever_their_size():
    # layer 0: (1, 3), mean 2, relative (.5, 1.5); layer 1: (60, 20), mean 40, relative (1.5, .5)
    # mean of the relative ones (1, 1) times the mean of the means (2 + 40) / 2
    net = network_of(conv_of([[1.0], [3.0]]), conv_of([[60.0, 0.0], [10.0, 10.0]]))
    assert scores_of(L1(normalize="none"), net, whole(2, "0", "1"))["0"].tolist() == [21.0, 21.0]


def test_a_depthwise_filter_does_not_count():
    net, group = toy(Depthwise), group_of(traced(Depthwise), "expand.0")
    expected = net.get_submodule("expand.0").weight.double().abs().sum((1, 2, 3))
    torch.testing.assert_close(scores_of(L1(normalize="none"), net, group)[group.name], expected)


def test_a_channel_that_no_convolution_makes_is_refused():
    net = network_of(nn.BatchNorm2d(2))
    with pytest.raises(
        ConfigError, match=r"group 0: channel 0 of 2 is made by no convolution.*Protect the group"
    ):
        scores_of(L1(normalize="none"), net, whole(2, "0"))


def test_a_weight_that_is_not_finite_is_refused():
    net = network_of(conv_of([[1.0], [float("nan")]]))
    with pytest.raises(TrainingError, match=r"group 0: the score of channel 1 is nan.*lower learning rate"):
        scores_of(L1(normalize="none"), net, whole(2, "0"))
