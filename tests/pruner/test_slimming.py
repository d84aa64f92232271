from dataclasses import replace

import pytest
import torch

from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup
from segprune.pruner.bn_scale import BnScale
from segprune.pruner.contract import Calibration, TrainedPruner
from segprune.pruner.gather import norms
from segprune.pruner.slimming import Slimming
from segprune.pruner.sparse import SparseTraining
from segprune.pruner.taylor import Taylor
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import traced
from tests.tiny import tiny_schedule
from tests.toys import Concat, toy, toy_calibration


def slimming() -> Slimming:
    return Slimming(phase=SparseTraining(penalty=1e-4, schedule=tiny_schedule()))


class TestSlimming(PrunerBattery):
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


def test_a_network_that_had_no_phase_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"slimming scores a network after its sparse training.*bn_scale"):
        slimming()(toy(Concat), traced(Concat), toy_calibration())


def test_it_declares_its_phase() -> None:
    assert isinstance(slimming(), TrainedPruner)
    assert not isinstance(BnScale(), TrainedPruner)
    assert not isinstance(Taylor(variant="gate"), TrainedPruner)
