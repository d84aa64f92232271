import pytest
import torch

from segprune.errors import ConfigError, TrainingError
from segprune.pruner.lamp import Lamp, lamp_scores
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, network_of, scores_of, traced, whole
from tests.toys import Plain, toy


class TestLamp(PrunerBattery):
    paper_scope = "global"
    duplicates = "apart"

    @staticmethod
    def build() -> Lamp:
        return Lamp()


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_each_norm_is_divided_by_the_sum_from_itself_up():
    # 1 / 10, 2 / 9, 3 / 7, 4 / 4, whatever the order
    assert lamp_scores(double(1, 2, 3, 4)).tolist() == pytest.approx([0.1, 2 / 9, 3 / 7, 1])
    assert lamp_scores(double(3, 1, 4, 2)).tolist() == pytest.approx([3 / 7, 0.1, 1, 2 / 9])


def test_of_equal_channels_the_first_is_the_smaller():
    assert lamp_scores(double(1, 1, 2)).tolist() == pytest.approx([1 / 4, 1 / 3, 1])


def test_zeros_stay_zero():
    assert lamp_scores(double(0, 2, 0)).tolist() == [0, 1, 0]
    assert lamp_scores(double(0, 0)).tolist() == [0, 0]


def test_norms_are_squared_and_joined_over_the_filter():
    # squared norms 1 + 4, 9, 0 + 1: ascending 1, 5, 9
    net = network_of(conv_of([[1.0, -2.0], [3.0, 0.0], [0.0, 1.0]]))
    assert scores_of(Lamp(), net, whole(3, "0"))["0"].tolist() == pytest.approx([5 / 14, 1, 1 / 15])


def test_layers_of_a_stream_count_alike():
    # squared norms (1, 9) and (100, 0): means 5 and 50, relative (.2, 1.8) and (2, 0), together (2.2, 1.8)
    net = network_of(conv_of([[1.0], [3.0]]), conv_of([[10.0], [0.0]]))
    assert scores_of(Lamp(), net, whole(2, "0", "1"))["0"].tolist() == pytest.approx([1, 1.8 / 4])


def test_the_best_channel_of_every_group_has_one_and_the_size_of_a_layer_does_not_matter():
    net, groups = toy(Plain), traced(Plain)
    before = scores_of(Lamp(), net, *groups)
    for group in groups:
        net.get_submodule(group.name).weight.data.mul_(8.0)
    after = scores_of(Lamp(), net, *groups)
    for name, score in before.items():
        assert score.max() == 1
        torch.testing.assert_close(after[name], score)


def test_a_channel_that_no_convolution_makes_is_refused():
    with pytest.raises(ConfigError, match=r"group 0: channel 0 of 2 is made by no convolution"):
        scores_of(Lamp(), network_of(torch.nn.BatchNorm2d(2)), whole(2, "0"))


def test_a_weight_that_is_not_finite_is_refused():
    net = network_of(conv_of([[1.0], [float("nan")]]))
    with pytest.raises(TrainingError, match=r"group 0: the score of channel \d is nan.*lower learning rate"):
        scores_of(Lamp(), net, whole(2, "0"))
