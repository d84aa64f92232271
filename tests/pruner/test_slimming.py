from dataclasses import replace

import pytest
import torch

from segprune.budget.allocate import Allocation
from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup
from segprune.pruner.bn_scale import BnScale
from segprune.pruner.contract import Calibration, TrainedPruner
from segprune.pruner.gather import norms
from segprune.pruner.slimming import Slimming
from segprune.pruner.sparse import SparseTraining
from segprune.pruner.taylor import Taylor
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import network_of, traced, whole
from tests.pruner.test_bn_scale import norm_of
from tests.tiny import tiny_schedule
from tests.toys import Concat, toy, toy_calibration


def slimming() -> Slimming:
    return Slimming(phase=SparseTraining(penalty=1e-4, schedule=tiny_schedule()))


class TestSlimming(PrunerBattery):
    paper_scope = "global"
    duplicates = "equal"

    @staticmethod
    def build() -> Slimming:
        return slimming()

    @pytest.fixture
    def groups(self, net) -> tuple[ChannelGroup, ...]:
        return tuple(group for group in traced(type(net)) if norms(net, group))

    @pytest.fixture
    def calibration(self) -> Calibration:
        return replace(toy_calibration(), learned={"histogram": torch.zeros(1)})


def test_the_score_is_the_raw_scale_after_the_phase() -> None:
    net, groups = toy(Concat), traced(Concat)
    after = replace(toy_calibration(), learned={})
    expected = BnScale()(net, groups, toy_calibration())
    for name, score in slimming()(net, groups, after).items():
        assert torch.equal(score, expected[name])


def test_half_of_the_scales_of_the_worked_example() -> None:
    # the official codes disagree: a threshold of .2 keeps .5, .3 and .9, one of .3 only .5 and .9
    net = network_of(norm_of(0.1, -0.5, 0.3, 0.2), norm_of(0.05, 0.9))
    groups, after = [whole(4, "0"), whole(2, "1")], replace(toy_calibration(), learned={})
    scores = slimming()(net, groups, after)
    assert scores["0"].tolist() == pytest.approx([0.1, 0.5, 0.3, 0.2])
    allocation = Allocation(groups, scores, floor=0.0, round_to=1)
    assert allocation.plan(allocation.lowest(3)) == {"0": (0, 3), "1": (0,)}


def test_a_network_that_had_no_phase_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"slimming scores a network after its sparse training.*bn_scale"):
        slimming()(toy(Concat), traced(Concat), toy_calibration())


def test_it_declares_its_phase() -> None:
    assert isinstance(slimming(), TrainedPruner)
    assert not isinstance(BnScale(), TrainedPruner)
    assert not isinstance(Taylor(variant="gate"), TrainedPruner)
