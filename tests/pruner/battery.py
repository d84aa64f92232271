"""The laws of every pruner; a test class per pruner says how to build it and which laws it is exempt from."""

import copy
from typing import ClassVar, Literal

import pytest
import torch

from segprune.budget.fraction import FractionBudget
from segprune.budget.simulate import CostSimulator
from segprune.graph.group import ChannelGroup
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Pruner, Scope
from tests.pruner.surgery import disturb, duplicate, kill, permute, same, snapshot, traced
from tests.toys import TOYS, toy, toy_calibration


class PrunerBattery:
    """Subclasses give ``build``.

    Attributes:
        paper_scope: Where the paper ranks.
        reads_network: Whether scores follow from the network at all (random: no).
        dead_goes_first: Whether a channel without weights is never above a living one.
        duplicates: What two equal channels get: equal scores, scores apart, or no law.
        rounding: How far the order of its sums may move a score of a network in double precision, as a share
            of the largest of the group: a score is a difference of sums, so its own size is no measure.
    """

    paper_scope: ClassVar[Scope]
    reads_network: ClassVar[bool] = True
    dead_goes_first: ClassVar[bool] = True
    duplicates: ClassVar[Literal["equal", "apart", "no law"]]
    rounding: ClassVar[float] = 1e-10

    @staticmethod
    def build() -> Pruner:
        raise NotImplementedError

    @pytest.fixture(params=TOYS, ids=lambda kind: kind.__name__)
    def net(self, request) -> SegmentationNet:
        return toy(request.param)

    @pytest.fixture
    def groups(self, net) -> tuple[ChannelGroup, ...]:
        return traced(type(net))

    @pytest.fixture
    def calibration(self) -> Calibration:
        return toy_calibration()

    def test_every_group_gets_one_finite_score_per_channel(self, net, groups, calibration):
        scores = self.build()(net, groups, calibration)
        assert set(scores) == {group.name for group in groups}
        for group in groups:
            assert scores[group.name].shape == (group.size,)
            assert scores[group.name].dtype == torch.float64
            assert scores[group.name].device.type == "cpu"
            assert scores[group.name].isfinite().all()

    def test_the_channels_of_a_group_do_not_all_score_alike(self, net, groups, calibration):
        for score in self.build()(net, groups, calibration).values():
            assert score.min() < score.max()

    def test_permuted_channels_have_permuted_scores(self, net, groups, calibration):
        if not self.reads_network:
            return
        before = self.build()(net, groups, calibration)
        generator = torch.Generator().manual_seed(7)
        orders = {group.name: torch.randperm(group.size, generator=generator) for group in groups}
        for group in groups:
            permute(net, group, orders[group.name])
        after = self.build()(net, groups, calibration)
        for name, order in orders.items():
            torch.testing.assert_close(after[name], before[name][order], rtol=1e-3, atol=1e-6)

    def test_a_dead_channel_is_never_above_a_living_one(self, net, groups, calibration):
        if not self.dead_goes_first:
            return
        for group in groups:
            damaged = copy.deepcopy(net)
            kill(damaged, group, channel=1)
            score = self.build()(damaged, groups, calibration)[group.name]
            assert score[1] == score.min()

    def test_duplicates(self, net, groups, calibration):
        if self.duplicates == "no law":
            return
        for group in groups:
            doubled = copy.deepcopy(net)
            duplicate(doubled, group, source=0, target=2)
            score = self.build()(doubled, groups, calibration)[group.name]
            assert torch.isclose(score[0], score[2], rtol=1e-9, atol=1e-9) == (self.duplicates == "equal")

    def test_the_same_call_gives_the_same_scores_whatever_the_global_seed(self, net, groups, calibration):
        first = self.build()(net, groups, calibration)
        with torch.random.fork_rng():
            torch.rand(3)
            second = self.build()(net, groups, calibration)
        for name, score in first.items():
            assert torch.equal(score, second[name])

    def test_scores_of_a_group_do_not_depend_on_the_other_groups(self, net, groups, calibration):
        together = self.build()(net, groups, calibration)
        for group in groups:
            alone = self.build()(net, [group], calibration)
            assert set(alone) == {group.name}
            torch.testing.assert_close(alone[group.name], together[group.name], rtol=1e-5, atol=1e-9)

    def test_the_network_is_left_as_it_was(self, net, groups, calibration):
        disturb(net)
        before, rng = snapshot(net), torch.get_rng_state()
        self.build()(net, groups, calibration)
        after = snapshot(net)
        assert before.keys() == after.keys()
        assert [key for key in before if not same(before[key], after[key])] == []
        assert torch.equal(torch.get_rng_state(), rng)

    def test_the_count_is_the_one_asked_for_and_more_removed_costs_no_more(self, net, groups, calibration):
        scores, total = self.build()(net, groups, calibration), sum(group.size for group in groups)
        simulator = CostSimulator(net, groups, (16, 16))
        budget = FractionBudget(of="channels", scope="paper", floor=0.0, round_to=1, tolerance=0.1)
        left = []
        for ratio in (0.2, 0.4, 0.6):
            reached = budget(groups, scores, ratio=ratio, paper_scope=self.build().scope, simulator=simulator)
            assert sum(map(len, reached.plan.values())) == total - round((1 - ratio) * total)
            left.append(simulator.cost(reached.plan, "macs"))
        assert left == sorted(left, reverse=True)

    def test_no_group_no_score(self, net, calibration):
        assert self.build()(net, [], calibration) == {}

    def test_it_says_what_it_is(self):
        pruner = self.build()
        assert pruner.name.replace("_", "") == type(pruner).__name__.lower()
        assert pruner.needs in {"weights", "gradients", "gradients of the loss", "feature maps"}
        assert pruner.scope in {"local", "global"}
