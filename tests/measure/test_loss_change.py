import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.graph.cut import cut
from segprune.graph.group import ChannelGroup
from segprune.measure.loss_change import (
    LEAST_PER_GROUP,
    Channel,
    joint_loss_change,
    loss_changes,
    mean_losses,
    sample_channels,
)
from segprune.model.contract import SegmentationNet
from tests.pruner.surgery import conv_of, disturb, kill, network_of, same, snapshot, traced, whole
from tests.toys import IGNORE, TOYS, Concat, Residual, toy, toy_batches


def cross_entropy(heads: list[Tensor], label: Tensor) -> Tensor:
    """Of every head in the precision of its logits; ``segmentation_loss`` computes in float32."""
    return torch.stack([F.cross_entropy(one, label, ignore_index=IGNORE) for one in heads]).sum()


class JoinedNorm(SegmentationNet):
    """Two branches side by side behind one norm, in which the second one has other channel numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 5, 1)
        self.norm, self.head = nn.BatchNorm2d(9), nn.Conv2d(9, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        image = self.normalise(image)
        return self.head(self.norm(torch.cat([self.left(image), self.right(image)], dim=1)))


NETWORKS = (*TOYS, JoinedNorm)


def double(kind: type[SegmentationNet]) -> SegmentationNet:
    return toy(kind).double()


def double_batches(count: int = 2) -> list[Batch]:
    return [Batch(image.double(), label) for image, label in toy_batches(count=count)]


def loss_of(net: SegmentationNet, batches: list[Batch]) -> float:
    with torch.no_grad():
        return float(np.mean([float(cross_entropy([net(image)], label)) for image, label in batches]))


def all_channels(groups: tuple[ChannelGroup, ...]) -> tuple[Channel, ...]:
    return tuple((group.name, channel) for group in groups for channel in range(group.size))


@pytest.mark.parametrize("kind", NETWORKS)
def test_removing_a_channel_changes_the_loss_as_cutting_it(kind: type[SegmentationNet]) -> None:
    net, groups, batches = double(kind), traced(kind), double_batches()
    probed = [(groups[0].name, 1), (groups[-1].name, groups[-1].size - 1)]
    changes = loss_changes(net, groups, probed, batches, cross_entropy, copies=3)
    before = loss_of(net, batches)
    expected = [loss_of(cut(net, {name: (channel,)}), batches) - before for name, channel in probed]
    assert changes == pytest.approx(expected, abs=1e-12)
    assert np.abs(changes).max() > 1e-3


@pytest.mark.parametrize("kind", NETWORKS)
def test_probing_together_gives_what_probing_one_by_one_does(kind: type[SegmentationNet]) -> None:
    net, groups, batches = double(kind), traced(kind), double_batches()
    probed = all_channels(groups)
    single = loss_changes(net, groups, probed, batches, cross_entropy, copies=1)
    assert single.shape == (len(probed),)
    for copies in (4, 1000):
        together = loss_changes(net, groups, probed, batches, cross_entropy, copies)
        assert together == pytest.approx(single, abs=1e-12)


@pytest.mark.parametrize("kind", NETWORKS)
def test_removing_a_set_changes_the_loss_as_cutting_it(kind: type[SegmentationNet]) -> None:
    net, groups, batches = double(kind), traced(kind), double_batches()
    removed = {group.name: (0, group.size - 2) for group in groups}
    expected = loss_of(cut(net, removed), batches) - loss_of(net, batches)
    assert joint_loss_change(net, groups, removed, batches, cross_entropy) == pytest.approx(
        expected, abs=1e-12
    )


def test_a_set_of_one_is_a_channel_and_a_set_of_none_nothing() -> None:
    net, groups, batches = double(Residual), traced(Residual), double_batches()
    (single,) = loss_changes(net, groups, [("stem.0", 4)], batches, cross_entropy, copies=1)
    joint = joint_loss_change(net, groups, {"stem.0": [4]}, batches, cross_entropy)
    assert joint == pytest.approx(single, abs=1e-12)
    assert joint_loss_change(net, groups, {"stem.0": [], "inner.0": []}, batches, cross_entropy) == 0.0


def test_the_quadratic_toy() -> None:
    # L = (sum of gains - 1)^2 / 2 with gains .5 .3 .1 0, so L = .005; without the first (.4 - 1)^2 / 2 = .18,
    # without the second (.6 - 1)^2 / 2 = .08, without the third (.8 - 1)^2 / 2 = .02.
    net = network_of(conv_of([[0.5], [0.3], [0.1], [0.0]]), conv_of([[1.0, 1.0, 1.0, 1.0]])).double()
    batch = Batch(torch.ones(2, 1, 1, 1).double(), torch.zeros(2, 1, 1))
    group = whole(4, "0")
    changes = loss_changes(
        net,
        [group],
        all_channels((group,)),
        [batch],
        lambda heads, _: (heads[0].mean() - 1) ** 2 / 2,
        copies=2,
    )
    assert changes == pytest.approx([0.175, 0.075, 0.015, 0.0], abs=1e-7)  # the gains are float32 numbers


def test_a_dead_channel_changes_nothing_at_all() -> None:
    net, groups = toy(Concat), traced(Concat)
    far = next(group for group in groups if group.name == "far.0")
    kill(net, far, channel=3)
    probed = all_channels((far,))
    changes = loss_changes(net, groups, probed, toy_batches(), cross_entropy, copies=4)
    assert [channel for (_, channel), change in zip(probed, changes, strict=True) if change == 0] == [3]


def test_every_batch_counts_the_same() -> None:
    net, groups = double(Residual), traced(Residual)
    first, second = double_batches()
    short = Batch(second.image[:1], second.label[:1])
    probed = all_channels(groups)
    apart = [loss_changes(net, groups, probed, [batch], cross_entropy, copies=3) for batch in (first, short)]
    both = loss_changes(net, groups, probed, [first, short], cross_entropy, copies=3)
    assert both == pytest.approx((apart[0] + apart[1]) / 2, abs=1e-12)


def test_the_loss_is_given_the_deployed_head_alone() -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def loss(heads: list[Tensor], label: Tensor) -> Tensor:
        seen.append((len(heads), tuple(heads[0].shape)))
        return cross_entropy(heads, label)

    mean_losses(toy(Concat), traced(Concat), [{}, {"far.0": (1,)}], toy_batches(count=1), loss, copies=2)
    assert seen == [(1, (2, 4, 16, 16))] * 2


def test_a_linear_layer_has_its_channels_last() -> None:
    class Pixels(SegmentationNet):
        """A linear layer on the colours of every pixel, and the mean of what it gives as logits."""

        def __init__(self) -> None:
            super().__init__()
            self.mix, self.head = nn.Linear(3, 5), nn.Linear(5, 4)

        def forward(self, image: Tensor) -> Tensor:
            return self.head(self.mix(image.movedim(1, -1)).relu()).movedim(-1, 1)

    net, batches = Pixels().double(), double_batches()
    group = whole(5, "mix")
    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed.head.weight[:, 2] = 0
    (change,) = loss_changes(net, [group], [("mix", 2)], batches, cross_entropy, copies=1)
    assert change == pytest.approx(loss_of(changed, batches) - loss_of(net, batches), abs=1e-12)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_network_is_left_as_it_was(kind: type[SegmentationNet]) -> None:
    net, groups = toy(kind), traced(kind)
    disturb(net)
    before, rng = snapshot(net), torch.get_rng_state()
    loss_changes(net, groups, all_channels(groups), toy_batches(), cross_entropy, copies=4)
    joint_loss_change(net, groups, {groups[0].name: (0, 1)}, toy_batches(), cross_entropy)
    after = snapshot(net)
    assert [name for name in before | after if not same(before.get(name), after.get(name))] == []
    assert torch.equal(rng, torch.get_rng_state())


def test_a_failing_loss_leaves_no_hook_behind() -> None:
    net, groups = toy(Residual).train(), traced(Residual)
    before = snapshot(net)

    def fail(heads: list[Tensor], label: Tensor) -> Tensor:
        raise ArithmeticError("no loss today")

    with pytest.raises(ArithmeticError, match="no loss today"):
        loss_changes(net, groups, all_channels(groups), toy_batches(), fail, copies=2)
    after = snapshot(net)
    assert all(same(before[name], after[name]) for name in before | after)


WIDE = (whole(30, "a"), whole(4, "b"), whole(20, "c"), whole(100, "d"))


def per_group(probed: tuple[Channel, ...]) -> list[int]:
    return [sum(name == group.name for name, _ in probed) for group in WIDE]


def test_every_group_gets_a_few_channels_and_the_rest_goes_by_size() -> None:
    everywhere = LEAST_PER_GROUP + 4 + 2 * LEAST_PER_GROUP  # b has 4 channels only
    assert per_group(sample_channels(WIDE, everywhere, seed=0)) == [
        LEAST_PER_GROUP,
        4,
        LEAST_PER_GROUP,
        LEAST_PER_GROUP,
    ]
    # Half of the 154: the channels of a, c and d are taken to the same depth of about 48 %.
    counts = per_group(sample_channels(WIDE, 77, seed=0))
    assert counts[1] == 4
    assert [
        count / size for count, size in zip(counts, (30, 4, 20, 100), strict=True) if size > 4
    ] == pytest.approx([73 / 150] * 3, abs=0.03)


def test_few_samples_go_to_few_groups() -> None:
    counts = per_group(sample_channels(WIDE, 2 * LEAST_PER_GROUP, seed=0))
    assert sum(counts) == 2 * LEAST_PER_GROUP
    assert (
        sum(
            0 < count < min(LEAST_PER_GROUP, size)
            for count, size in zip(counts, (30, 4, 20, 100), strict=True)
        )
        <= 1
    )


def test_fewer_samples_are_always_among_more() -> None:
    for less in range(0, 150, 7):
        assert set(sample_channels(WIDE, less, seed=3)) < set(sample_channels(WIDE, less + 1, seed=3))


def test_samples_are_ordered_unlike_and_all_when_there_are_fewer() -> None:
    probed = sample_channels(WIDE, 60, seed=1)
    order = {unit: position for position, unit in enumerate(all_channels(WIDE))}
    assert len(set(probed)) == 60
    assert [order[unit] for unit in probed] == sorted(order[unit] for unit in probed)
    assert sample_channels(WIDE, 0, seed=1) == ()
    assert sample_channels(WIDE, 154, seed=1) == sample_channels(WIDE, 10**6, seed=2) == all_channels(WIDE)


def test_samples_follow_from_the_seed_alone() -> None:
    rng, numpy_rng = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002 - it must stay untouched
    assert sample_channels(WIDE, 60, seed=1) == sample_channels(WIDE, 60, seed=1)
    assert sample_channels(WIDE, 60, seed=1) != sample_channels(WIDE, 60, seed=2)
    assert torch.equal(rng, torch.get_rng_state())
    assert str(np.random.get_state()) == numpy_rng  # noqa: NPY002
