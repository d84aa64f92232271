import pytest
import torch
from torch import nn

from segprune.errors import ConfigError, TrainingError
from segprune.graph.group import ChannelGroup
from segprune.pruner.bn_scale import BnScale
from segprune.pruner.gather import norms
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, group_of, network_of, scores_of, traced, whole
from tests.toys import Depthwise, Plain, Residual, toy


def norm_of(*scales: float) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(scales))
    layer.weight.data = torch.tensor(scales)
    return layer


class TestBnScale(PrunerBattery):
    paper_scope = "global"
    duplicates = "equal"

    @staticmethod
    def build() -> BnScale:
        return BnScale()

    @pytest.fixture
    def groups(self, net) -> tuple[ChannelGroup, ...]:
        return tuple(group for group in traced(type(net)) if norms(net, group))


def test_the_score_is_the_size_of_the_scale_whatever_its_sign_and_its_group():
    net = network_of(norm_of(0.125, -0.5, 0.25), norm_of(0.0625, 0.75))
    scores = scores_of(BnScale(), net, whole(3, "0"), whole(2, "1"))
    assert scores["0"].tolist() == [0.125, 0.5, 0.25]
    assert scores["1"].tolist() == [0.0625, 0.75]


def test_shifts_statistics_and_filters_do_not_count():
    net, group = toy(Plain), group_of(traced(Plain), "first.0")
    before = scores_of(BnScale(), net, group)[group.name]
    net.get_submodule("first.0").weight.data.mul_(3.0)
    for tensor in (net.get_submodule("first.1").bias.data, net.get_submodule("first.1").running_var):
        tensor.add_(1.0)
    assert torch.equal(scores_of(BnScale(), net, group)[group.name], before)


def test_a_stream_has_the_mean_over_its_norms():
    # |1|, |-3| -> 2 and |0.5|, |0.5| -> 0.5
    net = network_of(norm_of(1.0, 0.5), norm_of(-3.0, -0.5))
    assert scores_of(BnScale(), net, whole(2, "0", "1"))["0"].tolist() == [2.0, 0.5]


def test_the_norm_behind_a_depthwise_convolution_counts():
    net, group = toy(Depthwise), group_of(traced(Depthwise), "expand.0")
    sizes = [net.get_submodule(name).weight.double().abs() for name in ("expand.1", "depthwise.1")]
    torch.testing.assert_close(scores_of(BnScale(), net, group)[group.name], sum(sizes) / 2)


def test_a_maker_without_a_norm_takes_no_part_where_another_one_has_one():
    net, group = toy(Residual), group_of(traced(Residual), "stem.0")
    sizes = [net.get_submodule(name).weight.double().abs() for name in ("stem.1", "outer.1")]
    torch.testing.assert_close(scores_of(BnScale(), net, group)[group.name], sum(sizes) / 2)


def test_every_group_without_a_norm_is_named():
    net = network_of(conv_of([[1.0]]), norm_of(1.0), nn.BatchNorm2d(1, affine=False))
    with pytest.raises(
        ConfigError, match=r"bn_scale: it cannot score 0 \(no batch norm.*\); 2 \(.*pruner=taylor"
    ):
        scores_of(BnScale(), net, whole(1, "0"), whole(1, "1"), whole(1, "2"))


def test_a_scale_that_is_not_finite_is_refused():
    with pytest.raises(TrainingError, match=r"group 0: the score of channel 1 is inf.*lower learning rate"):
        scores_of(BnScale(), network_of(norm_of(1.0, float("inf"))), whole(2, "0"))
