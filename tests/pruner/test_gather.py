import pytest
import torch
from torch import Tensor, nn

from segprune.errors import ConfigError, TrainingError
from segprune.graph.group import ChannelGroup, Member
from segprune.pruner.gather import (
    carried,
    checked,
    coupled_mean,
    filter_rows,
    map_layers,
    mean_one,
    norms,
    of_running,
    position_mean,
    producers,
    root_filters,
    root_sum,
)
from tests.pruner.surgery import conv_of, group_of, network_of, traced, whole
from tests.toys import PooledGate, SqueezeExcite, toy


def member(own: list[int], root: list[int]) -> Member:
    return Member(layer="0", axis="out", own=torch.tensor(own), root=torch.tensor(root))


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_row_is_what_makes_one_output_channel(kind, groups):
    # without padding and bias, an image of ones gives the sum over the filter at the centre
    layer = kind(4, 6, 3, groups=groups, bias=False)
    image = torch.ones(1, 4, 7, 7)
    centre = layer(image)[0]
    centre = centre[:, centre.shape[1] // 2, centre.shape[2] // 2]
    rows = filter_rows(layer, layer.weight)
    assert rows.shape == (6, 4 // groups * 9)
    assert rows.dtype == torch.float64
    torch.testing.assert_close(rows.sum(1).float(), centre.detach())


def test_values_go_from_the_layers_positions_to_the_groups_channels():
    # positions 4, 2, 3 carry channels 0, 1, 2
    assert root_sum(double(9, 9, 20, 30, 40), member([4, 2, 3], [0, 1, 2]), 3).tolist() == [40, 20, 30]


def test_positions_of_one_channel_are_added_and_a_channel_without_any_has_zero():
    assert root_sum(double(1, 2, 4), member([0, 1, 2], [2, 0, 2]), 4).tolist() == [2, 0, 5, 0]


def test_filters_of_one_channel_are_one_behind_the_other():
    layer = conv_of([[1.0], [2.0], [3.0], [4.0]])
    joint = root_filters(layer, member([0, 1, 2, 3], [1, 0, 1, 3]), 4)
    assert joint.tolist() == [[2, 0], [1, 3], [0, 0], [4, 0]]


def test_the_coupled_mean_of_one_layer_is_the_layer():
    assert coupled_mean([double(1, 5, 2)], [torch.tensor([True] * 3)]).tolist() == [1, 5, 2]


def test_a_layer_that_makes_a_part_of_the_channels_counts_for_that_part():
    # layer 0 makes 0 and 1: mean 2, relative (.5, 1.5, -)
    # layer 1 makes 1 and 2: mean 20, relative (-, .5, 1.5)
    # per channel (.5, 1, 1.5), times (2 + 20) / 2
    values = [double(1, 3, 0), double(0, 10, 30)]
    masks = [torch.tensor([True, True, False]), torch.tensor([False, True, True])]
    assert coupled_mean(values, masks).tolist() == [5.5, 11.0, 16.5]


def test_a_layer_of_zeros_adds_zero():
    # relative (.5, 1.5) and (0, 0): their mean times (2 + 0) / 2
    masks = [torch.tensor([True, True])] * 2
    assert coupled_mean([double(1, 3), double(0, 0)], masks).tolist() == [0.25, 0.75]


def test_scores_of_mean_one_keep_all_zeros():
    assert mean_one(double(1, 3)).tolist() == [0.5, 1.5]
    assert mean_one(double(0, 0)).tolist() == [0, 0]


def test_only_layers_that_make_channels_are_producers():
    net = network_of(
        conv_of([[1.0], [1.0]]), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, groups=2), nn.Linear(3, 2)
    )
    found = producers(net, whole(2, "0", "1", "2", "3"))
    assert [maker.layer for maker, _ in found] == ["0", "3"]
    assert [norm.layer for norm, _ in norms(net, whole(2, "0", "1", "2", "3"))] == ["1"]


def test_a_layer_that_reads_the_channels_does_not_make_them():
    index = torch.arange(2)
    out = Member(layer="0", axis="out", own=index, root=index)
    reader = Member(layer="1", axis="in", own=index, root=index)
    net = network_of(conv_of([[1.0], [1.0]]), conv_of([[1.0, 1.0], [1.0, 1.0]]))
    found = producers(net, ChannelGroup(name="0", size=2, members=(out, reader)))
    assert [maker.layer for maker, _ in found] == ["0"]


@pytest.mark.parametrize("kind", [SqueezeExcite, PooledGate])
def test_a_layer_that_only_rescales_the_channels_does_not_make_them(kind):
    net = toy(kind)
    group = group_of(traced(kind), "wide.0")
    assert [maker.layer for maker, _ in producers(net, group)] == ["wide.0"]
    assert [norm.layer for norm, _ in norms(net, group)] == ["wide.1"]
    assert {member.layer for member in group.members if member.axis == "scale"} >= {"excite.0"}


def test_a_channel_that_nothing_makes_is_named():
    group = ChannelGroup(name="0", size=3, members=(member([0, 1], [0, 2]),))
    with pytest.raises(ConfigError, match=r"group 0: channel 1 of 3 is made by no.*Protect"):
        producers(network_of(conv_of([[1.0], [1.0]])), group)


def test_feature_maps_are_taken_behind_the_norms():
    net = network_of(conv_of([[1.0], [1.0]]), nn.BatchNorm2d(2))
    assert [found.layer for found, _ in map_layers(net, whole(2, "0", "1"))] == ["1"]
    assert [found.layer for found, _ in map_layers(net, whole(2, "0"))] == ["0"]


def test_where_a_norm_does_not_carry_every_channel_feature_maps_are_taken_behind_the_makers():
    net = network_of(conv_of([[1.0], [1.0]]), nn.BatchNorm2d(1))
    index = torch.arange(1)
    half = Member(layer="1", axis="out", own=index, root=index)
    group = ChannelGroup(name="0", size=2, members=(*whole(2, "0").members, half))
    assert [found.layer for found, _ in map_layers(net, group)] == ["0"]


def test_a_layer_that_never_ran_is_left_out_if_another_one_did():
    group = whole(2, "0", "1")
    assert of_running(group, group.members, {"1": "maps"}) == [(group.members[1], "maps")]


@pytest.mark.parametrize("found", [{}, {"2": "maps"}])
def test_a_group_of_which_no_layer_ran_is_refused(found):
    group = whole(2, "0", "1")
    with pytest.raises(ConfigError, match=r"group 0: none of its layers 0, 1 runs in all_logits.*pruner=l1"):
        of_running(group, group.members, found)


def test_members_carry_together_what_one_of_them_carries():
    assert carried([member([0], [3]), member([5, 1], [0, 3])], 4).tolist() == [True, False, False, True]
    assert carried([], 2).tolist() == [False, False]


def test_every_position_of_a_channel_counts_alike_in_the_mean():
    # channel 0: 1, 2 and 6; channel 1: 4
    values = [(member([0, 1, 2], [0, 1, 0]), double(1, 4, 2)), (member([3], [0]), double(9, 9, 9, 6))]
    assert position_mean(values, 2).tolist() == [3, 4]


def test_scores_must_be_finite():
    scores = {"a": double(1, 2), "b": double(3, float("-inf"))}
    with pytest.raises(TrainingError, match=r"group b: the score of channel 1 is -inf.*lower learning rate"):
        checked(scores)
    assert checked({"a": scores["a"]}) == {"a": scores["a"]}
