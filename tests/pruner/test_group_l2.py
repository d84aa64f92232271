import pytest
import torch
from torch import Tensor, nn

from segprune.errors import TrainingError
from segprune.graph.cut import cut
from segprune.graph.group import ChannelGroup, Member
from segprune.model.contract import SegmentationNet
from segprune.pruner.group_l2 import GroupL2
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, network_of, scores_of, traced, whole
from tests.toys import TOYS, Residual, toy

RAW = GroupL2(normalize="none")


class TestGroupL2(PrunerBattery):
    paper_scope = "global"
    duplicates = "no law"
    dead_goes_first = False  # what the readers hold for it still counts

    @staticmethod
    def build() -> GroupL2:
        return GroupL2(normalize="mean")


class TestGroupL2Raw(TestGroupL2):
    @staticmethod
    def build() -> GroupL2:
        return RAW


def squared_weights(net: SegmentationNet) -> Tensor:
    """Sum of the squares of all filters and norm scales."""
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    return torch.stack([w.detach().double().square().sum() for w in weights]).sum()


def read_by(layer: str, group: ChannelGroup) -> ChannelGroup:
    index = torch.arange(group.size)
    reader = Member(layer=layer, axis="in", own=index, root=index)
    return ChannelGroup(name=group.name, size=group.size, members=(*group.members, reader))


def example() -> SegmentationNet:
    """Filters (1, 2) and (3, 0), scales 2 and -1, and a reader with (1, 0) for channel 0, (-1, 4) for 1."""
    net = network_of(
        conv_of([[1.0, 2.0], [3.0, 0.0]], bias=9.0), nn.BatchNorm2d(2), conv_of([[1.0, -1.0], [0.0, 4.0]])
    )
    net.get_submodule("1").weight.data = torch.tensor([2.0, -1.0])
    return net


def test_filters_scales_and_readers_add_up_without_biases():
    # 5 + 4 + 1 and 9 + 1 + 17
    assert scores_of(RAW, example(), read_by("2", whole(2, "0", "1")))["0"].tolist() == [10.0, 27.0]


def test_scores_are_relative_to_the_mean_of_the_group():
    scores = scores_of(GroupL2(normalize="mean"), example(), read_by("2", whole(2, "0", "1")))["0"]
    assert scores.tolist() == pytest.approx([10 / 18.5, 27 / 18.5])


def test_relative_scores_are_ranked_over_all_groups_and_raw_ones_within():
    assert GroupL2(normalize="mean").scope == "global"
    assert RAW.scope == "local"


@pytest.mark.parametrize("kind", TOYS, ids=lambda kind: kind.__name__)
def test_the_raw_score_is_what_a_cut_takes_from_the_sum_of_all_squared_weights(kind):
    net, groups = toy(kind), traced(kind)
    dense, scores = squared_weights(net), scores_of(RAW, net, *groups)
    for group in groups:
        channel = group.size - 1
        taken = dense - squared_weights(cut(net, {group.name: (channel,)}))
        if group.name == "stem.0" and kind is Residual:
            # this filter reads the channels it makes: its weight from the channel to itself is on both sides
            taken += net.get_submodule("bare").weight[channel, channel].detach().double().square().sum()
        torch.testing.assert_close(scores[group.name][channel], taken, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_a_norm_without_a_scale_adds_nothing(norm):
    net = network_of(conv_of([[3.0]]), norm(1, affine=False))
    assert scores_of(RAW, net, whole(1, "0", "1"))["0"].tolist() == [9.0]


def test_a_weight_that_is_not_finite_is_refused():
    net = network_of(conv_of([[1.0], [float("nan")]]))
    with pytest.raises(TrainingError, match=r"group 0: the score of channel 1 is nan.*lower learning rate"):
        scores_of(RAW, net, whole(2, "0"))
