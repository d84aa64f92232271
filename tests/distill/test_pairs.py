import copy
import functools

import pytest
import torch
from torch import nn

from segprune.distill.contract import Loss, MapLoss
from segprune.distill.look import look
from segprune.distill.pairs import Made, pairs
from segprune.errors import ConfigError
from segprune.graph.silence import without
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.model.unet import unet
from segprune.transform.cut import Cut
from tests.distill.test_kd import kd
from tests.distill.test_kd_feature import kd_feature
from tests.pruner.test_registered import STRUCTURES, thin
from tests.toys import TOYS, Plain, toy

SIZE_HW = (64, 64)


class OfOutputs(MapLoss):
    """A loss that compares what norms make."""

    maps = "before_relu"

    def __call__(self, *_: object, **__: object) -> torch.Tensor:
        raise NotImplementedError


LOSSES = {"read": kd_feature(), "before_relu": OfOutputs(places=None)}


@functools.cache
def network(name: str) -> SegmentationNet:
    toys = {kind.__name__: kind for kind in TOYS}
    return toy(toys[name]).double() if name in toys else thin(name).net


def cuts_of(net: SegmentationNet) -> tuple[list[Cut], dict[str, tuple[int, ...]]]:
    """Two cuts, every other channel and then the first one that is left; and both as one plan."""
    groups = {group.name: group.size for group in trace(net) if group.size > 3}
    first = Cut({name: tuple(range(1, size, 2)) for name, size in groups.items()})
    second = Cut(dict.fromkeys(groups, (0,)))
    return [first, second], {name: (0, *range(1, size, 2)) for name, size in groups.items()}


@pytest.mark.parametrize("maps", LOSSES)
@pytest.mark.parametrize(
    "name",
    [*(kind.__name__ for kind in TOYS), *(pytest.param(name, marks=pytest.mark.slow) for name in STRUCTURES)],
)
def test_a_cut_student_makes_the_maps_of_the_teacher_whose_removed_channels_are_silent(
    name: str, maps: str
) -> None:
    dense = network(name)
    cuts, plan = cuts_of(dense)
    small: SegmentationNet = dense
    for one in cuts:
        small = one.replay(small)
    found = pairs(LOSSES[maps], Made(net=small, transforms=cuts), Made(net=dense), dense, SIZE_HW)
    image = torch.rand(2, 3, *SIZE_HW, generator=torch.Generator().manual_seed(3)).double()
    whole = copy.deepcopy(dense)
    with torch.no_grad():
        _, of_student = look(
            small, small.all_logits, image, {name: pair.student for name, pair in found.items()}
        )
        with without(whole, trace(dense), [plan]):
            _, of_teacher = look(
                whole, whole.all_logits, image, {name: pair.teacher for name, pair in found.items()}
            )
    assert len(found) > 0
    assert sum(map(len, plan.values())) > 0
    for place, maps_there in of_student.items():
        assert found[place].adapter is None
        assert maps_there.shape[1] == found[place].place.student == found[place].place.teacher
        assert torch.allclose(maps_there, of_teacher[place], atol=1e-5), place


def test_a_loss_of_logits_has_no_places() -> None:
    assert pairs(kd(), Made(net=Plain()), Made(net=Plain()), Plain(), SIZE_HW) == {}


def test_a_teacher_that_is_cut_itself_is_compared_where_both_have_the_channels() -> None:
    dense = toy(Plain)
    mine, its = [Cut({"first.0": (0, 1, 5)})], [Cut({"first.0": (1,)})]
    student, teacher = (made[0].replay(dense) for made in (mine, its))
    loss = kd_feature(places=["second.0"])
    (pair,) = pairs(
        loss, Made(net=student, transforms=mine), Made(net=teacher, transforms=its), dense, SIZE_HW
    ).values()
    # the student has 2, 3, 4; the teacher 0, 2, 3, 4, 5
    assert pair.adapter is None
    assert pair.teacher.channels is not None
    assert pair.teacher.channels.tolist() == [1, 2, 3]


def test_channels_that_the_teacher_lacks_are_learnt() -> None:
    dense = toy(Plain)
    its = [Cut({"first.0": (1,)})]
    loss = kd_feature(places=["second.0"])
    (pair,) = pairs(
        loss, Made(net=dense), Made(net=its[0].replay(dense), transforms=its), dense, SIZE_HW
    ).values()
    assert pair.adapter == (6, 5)
    assert (pair.place.student, pair.place.teacher) == (5, 5)


def test_a_teacher_of_another_width_is_met_at_maps_of_the_same_size_through_a_learnt_convolution() -> None:
    def net(width: int) -> SegmentationNet:
        return unet(num_classes=3, width=width, max_width=16, depth=2, convs_per_level=1, upsample="bilinear")

    found = pairs(kd_feature(), Made(net=net(4)), Made(net=net(8)), net(4), SIZE_HW)
    assert {pair.adapter for pair in found.values()} == {(4, 8), (8, 16)}
    assert all(pair.student.layer == pair.teacher.layer for pair in found.values())


@pytest.mark.parametrize("cuts", [[], [Cut({"first.0": (1,)})]], ids=["whole", "cut"])
def test_another_network_of_the_same_architecture_has_other_channels_of_the_same_numbers(
    cuts: list[Cut],
) -> None:
    dense, other = toy(Plain), toy(Plain)
    for made_by in cuts:
        other = made_by.replay(other)
    mine = [Cut({"first.0": (0, 1)})]
    student, teacher = Made(net=mine[0].replay(dense), transforms=mine), Made(net=other, transforms=cuts)
    kin, stranger = (
        pairs(kd_feature(), student, teacher, dense, SIZE_HW, is_kin=is_kin)["head"]
        for is_kin in (True, False)
    )
    assert (kin.adapter, stranger.adapter) == (None, (4, 4))
    assert stranger.teacher.layer == stranger.student.layer == "head"


def test_a_teacher_without_maps_of_that_size_is_refused() -> None:
    deep = unet(num_classes=3, width=4, max_width=8, depth=3, convs_per_level=1, upsample="bilinear")
    with pytest.raises(
        ConfigError, match=r"32x32 px, but the teacher has maps of 64x64 px only.*distill\.places.*distill=kd"
    ):
        pairs(kd_feature(), Made(net=deep), Made(net=toy(Plain)), deep, SIZE_HW)


def test_a_replaced_layer_is_named() -> None:
    dense, other = toy(Plain), toy(Plain)
    other.second = nn.Sequential(nn.Sequential(nn.Conv2d(6, 5, 1), nn.Conv2d(5, 5, 1)), nn.BatchNorm2d(5))
    student = Made(net=other, transforms=(object(),))  # type: ignore[arg-type]
    del other.second[0]
    with pytest.raises(ConfigError, match=r"second\.1.* replaced"):
        pairs(OfOutputs(places=["second.1"]), student, Made(net=dense), dense, SIZE_HW)


def test_a_loss_that_matches_nothing_gets_whole_maps() -> None:
    class Whole(OfOutputs):
        matched = False

    dense = toy(Plain)
    mine = [Cut({"second.0": (0, 1)})]
    student = Made(net=mine[0].replay(dense), transforms=mine)
    (pair,) = pairs(Whole(places=["second.1"]), student, Made(net=dense), dense, SIZE_HW).values()
    assert (pair.place.student, pair.place.teacher, pair.adapter) == (3, 5, None)
    assert pair.place.scale is not None
    assert torch.equal(pair.place.scale, dense.second[1].weight.detach())


def test_a_matching_loss_is_told_the_norm_of_the_channels_that_are_compared() -> None:
    dense = toy(Plain)
    mine = [Cut({"second.0": (0, 1)})]
    student = Made(net=mine[0].replay(dense), transforms=mine)
    loss: Loss = OfOutputs(places=["second.1"])
    (pair,) = pairs(loss, student, Made(net=dense), dense, SIZE_HW).values()
    assert pair.place.shift is not None
    assert torch.equal(pair.place.shift, dense.second[1].bias.detach()[2:])
