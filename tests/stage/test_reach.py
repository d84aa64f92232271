from collections.abc import Sequence
from functools import partial

import pytest
from torch import Tensor, nn

from segprune.budget.contract import Budget
from segprune.budget.fraction import FractionBudget
from segprune.errors import BudgetError, ConfigError
from segprune.graph.group import ChannelGroup
from segprune.model.contract import SegmentationNet
from segprune.pruner.apoz import Apoz
from segprune.pruner.bn_scale import BnScale
from segprune.pruner.contract import Pruner
from segprune.pruner.l1 import L1
from segprune.pruner.slimming import Slimming
from segprune.pruner.sparse import SparseTraining
from segprune.stage.reach import refuse_unreachable
from tests.odd_nets import DeadStages
from tests.tiny import tiny_schedule
from tests.toys import Normed, Plain, SqueezeExcite, toy

L1_NORM = L1(normalize="none")
BUDGET = FractionBudget(of="channels", scope="paper", floor=0.0, round_to=1, tolerance=0.1)


def refuse(
    net: SegmentationNet, *, pruner: Pruner = L1_NORM, budget: Budget = BUDGET, ratio: float = 0.5
) -> None:
    refuse_unreachable(net, (16, 16), pruner=pruner, budget=budget, ratio=ratio)


class Scaleless(Normed):
    """No channel has a scale."""

    def __init__(self) -> None:
        super().__init__(partial(nn.BatchNorm2d, affine=False))


def test_a_network_of_which_nothing_can_be_scored_is_refused_before_anything_is_trained() -> None:
    for pruner in (BnScale(), Slimming(phase=SparseTraining(penalty=0.01, schedule=tiny_schedule()))):
        match = rf"pruner {pruner.name}: it can score no channel of Scaleless: \S.* \(no batch norm .*pruner=taylor"
        with pytest.raises(ConfigError, match=match):
            refuse(toy(Scaleless), pruner=pruner)


@pytest.mark.parametrize(
    ("pruner", "net", "whole"),
    [
        (Apoz(), SqueezeExcite, "squeeze.0 (its layers do not all give feature maps)"),
        (BnScale(), Plain, "bare (no batch norm with a scale carries all of its channels)"),
    ],
)
def test_what_a_criterion_cannot_score_is_told_before_training_and_bounds_the_budget(
    pruner: Pruner, net: type[SegmentationNet], whole: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        refuse(toy(net), pruner=pruner)
    assert f"{pruner.name} cannot score, and so leaves whole: {whole}" in caplog.messages
    # of 6 + 5 + 4 channels, and in SqueezeExcite too, 4 stay whole and one each of the others: 9 of 15 can go
    refuse(toy(net), ratio=0.75)
    with pytest.raises(BudgetError, match=r"at most 0\.6000 can go"):
        refuse(toy(net), pruner=pruner, ratio=0.75)


class OnItsOwnTerms(L1):
    """A criterion that cannot work at all."""

    def refuse(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> None:
        raise ConfigError("not on this one")


def test_a_criterion_that_cannot_work_at_all_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"^not on this one$"):
        refuse(toy(Plain), pruner=OnItsOwnTerms(normalize="none"))


def test_a_tolerance_that_no_ranking_within_layers_meets_is_refused_before_training() -> None:
    # one of the 15 channels of Plain goes or two: 0.0667 or 0.1333
    budget = FractionBudget(of="channels", scope="local", floor=0.1, round_to=4, tolerance=0.01)
    with pytest.raises(BudgetError, match=r"ratio=0\.1 .* removes 0\.0667, further away"):
        refuse(Plain(), budget=budget, ratio=0.1)


def test_layers_that_never_run_are_named_before_the_work(caplog: pytest.LogCaptureFixture) -> None:
    refuse(toy(DeadStages))
    assert caplog.messages == [
        "DeadStages does not compute its logits from encoder.2, encoder.3: they count in no cost, neither params "
        "nor MACs"
    ]
