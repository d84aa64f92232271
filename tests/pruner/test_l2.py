import pytest
import torch

from segprune.pruner.l1 import L1
from segprune.pruner.l2 import L2
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, network_of, scores_of, traced, whole
from tests.toys import Plain, toy


class TestL2(PrunerBattery):
    paper_scope = "local"
    duplicates = "equal"

    @staticmethod
    def build() -> L2:
        return L2(normalize="none")


class TestL2Mean(PrunerBattery):
    paper_scope = "local"
    duplicates = "equal"

    @staticmethod
    def build() -> L2:
        return L2(normalize="mean")


def test_the_root_of_the_summed_squares():
    net = network_of(conv_of([[1.0, -2.0], [3.0, 0.0], [0.0, 0.0]]))
    expected = torch.tensor([5.0**0.5, 3.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(scores_of(L2(normalize="none"), net, whole(3, "0"))["0"], expected)


def test_the_global_variant_divides_by_the_mean_of_the_group():
    # norms 5 and 15, mean 10
    net = network_of(conv_of([[3.0, -4.0], [9.0, 12.0]]))
    assert scores_of(L2(normalize="mean"), net, whole(2, "0"))["0"].tolist() == pytest.approx([0.5, 1.5])


def test_filters_of_a_residual_stream_count_alike_whatever_their_size():
    # layer 0: (1, 3), mean 2, relative (.5, 1.5); layer 1: (50, 10), mean 30, relative (5/3, 1/3)
    # mean of the relative ones (13/12, 11/12) times the mean of the means (2 + 30) / 2
    net = network_of(conv_of([[1.0], [-3.0]]), conv_of([[30.0, 40.0], [10.0, 0.0]]))
    expected = torch.tensor([52 / 3, 44 / 3], dtype=torch.float64)
    torch.testing.assert_close(scores_of(L2(normalize="none"), net, whole(2, "0", "1"))["0"], expected)


def test_l1_is_at_least_l2_and_at_most_l2_times_the_root_of_the_filter_size():
    net = toy(Plain)
    first = scores_of(L1(normalize="none"), net, *traced(Plain))
    second = scores_of(L2(normalize="none"), net, *traced(Plain))
    for name, l2 in second.items():
        root = net.get_submodule(name).weight[0].numel() ** 0.5
        assert (l2 <= first[name]).all()
        assert (first[name] <= root * l2 + 1e-9).all()


def test_the_sign_of_a_weight_does_not_matter_and_its_scale_does_not_change_the_order():
    net, group = network_of(conv_of([[1.0, 2.0], [-3.0, 1.0], [0.5, 0.0]])), whole(3, "0")
    before = scores_of(L2(normalize="none"), net, group)["0"]
    net.get_submodule("0").weight.data.mul_(-4.0)
    torch.testing.assert_close(scores_of(L2(normalize="none"), net, group)["0"], 4 * before)
