import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.budget.simulate import CostSimulator
from segprune.errors import ConfigError
from segprune.graph.trace import trace
from segprune.pruner.contract import Calibration, Prepared, Target, TrainedPruner
from segprune.pruner.dmcp import Dmcp, MarkovTraining
from segprune.pruner.taylor import Taylor
from segprune.step import Epoch, Training
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import permute, traced
from tests.tiny import CPU, tiny_data, tiny_net, tiny_schedule
from tests.toys import TOYS, Residual, toy, toy_calibration


def phase(**changes: object) -> MarkovTraining:
    schedule = tiny_schedule(**{"keep": "last", "epochs": 2, **changes.pop("schedule", {})})  # type: ignore[dict-item]
    values: dict[str, object] = {
        "chunks": 4,
        "start": 2.0,
        "gate_lr": 0.3,
        "gates_from": 0.5,
        "budget_weight": 0.1,
        "sampled": 1,
        "order": "taylor",
        "schedule": schedule,
    }
    return MarkovTraining(**{**values, **changes})


def run(
    folder: Path,
    of: MarkovTraining,
    net=None,
    *,
    share: float = 0.5,
    unit: str = "macs",
    on_epoch=lambda _: None,
) -> Prepared:
    folder.mkdir(exist_ok=True)
    net = net or tiny_net()
    groups = trace(net)
    simulator = CostSimulator(net, groups, (16, 16))
    target = Target(share=share, remaining=lambda keep: simulator.expected_share(keep, unit=unit))
    training = Training(
        data=tiny_data(), schedule=of.schedule, seed=0, hardware=CPU, folder=folder, on_epoch=on_epoch
    )
    return of(net, groups, training=training, calibration=toy_calibration(), target=target)


def learned_by(groups, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    learned = {}
    for group in groups:
        learned[f"rank/{group.name}"] = torch.randperm(group.size, generator=generator)
        learned[f"logits/{group.name}"] = torch.randn(min(4, group.size) - 1, generator=generator).double()
    return learned


class TestDmcp(PrunerBattery):
    reads_network = False
    dead_goes_first = False
    duplicates = "no law"

    @staticmethod
    def build() -> Dmcp:
        return Dmcp(phase=phase())

    @pytest.fixture
    def calibration(self, net) -> Calibration:
        return replace(toy_calibration(), learned=learned_by(traced(type(net))))


def test_gates_reach_the_expected_cost_that_is_asked_for(tmp_path: Path) -> None:
    # nothing but the budget pulls: the expected cost has to end where it was asked to
    of = phase(schedule={"epochs": 30}, gates_from=0.0, budget_weight=100.0, gate_lr=0.1, sampled=0)
    prepared = run(tmp_path, of, share=0.6)
    assert float(prepared.learned["remaining"][-1]) == pytest.approx(0.6, abs=0.03)
    assert float(prepared.learned["share"]) == pytest.approx(0.6)
    assert prepared.curve[-1].facts["asked_remaining"] == pytest.approx(60)


def test_gates_stand_still_until_it_is_their_turn(tmp_path: Path) -> None:
    remaining = run(tmp_path, phase(schedule={"epochs": 4})).learned["remaining"]
    assert remaining[0] == remaining[1] != remaining[2] != remaining[3]


def test_the_expected_cost_starts_where_the_gates_do(tmp_path: Path) -> None:
    # groups of 6 (4 chunks of 2, 2, 1, 1) and 4 (4 chunks of 1): chances 1, p, p^2, p^3 with p = sigmoid(2)
    p = 1 / (1 + math.exp(-2))
    widths = (2 + 2 * p + p**2 + p**3) + (1 + p + p**2 + p**3)
    first = run(tmp_path, phase(), unit="channels").learned["remaining"][0]
    assert float(first) == pytest.approx(widths / 10, abs=1e-6)


def test_weights_learn_and_the_given_network_is_left_alone(tmp_path: Path) -> None:
    net = tiny_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    prepared = run(tmp_path, phase(schedule={"epochs": 12}), net)
    assert prepared.curve[-1].loss < 0.7 * prepared.curve[0].loss
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not prepared.net.training


def test_a_killed_phase_ends_in_the_same_bits(tmp_path: Path) -> None:
    of = phase(schedule={"epochs": 3})
    whole = run(tmp_path / "whole", of)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", of, on_epoch=stop)
    resumed = run(tmp_path / "killed", of)
    assert whole.curve == resumed.curve
    assert whole.learned.keys() == resumed.learned.keys()
    assert all(torch.equal(value, resumed.learned[name]) for name, value in whole.learned.items())
    for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_channels_are_ranked_by_taylor_or_as_they_are(tmp_path: Path) -> None:
    scores = Taylor(variant="gate")(tiny_net(), trace(tiny_net()), toy_calibration())
    learned = run(tmp_path / "a", phase()).learned
    for name, score in scores.items():
        assert score[learned[f"rank/{name}"].argsort()].diff().max() <= 0
    learned = run(tmp_path / "b", phase(order="index")).learned
    assert learned["rank/stem.0"].tolist() == list(range(6))


@pytest.mark.parametrize("kind", TOYS)
def test_every_structure_can_be_gated_and_trained(tmp_path: Path, kind) -> None:
    net = toy(kind)
    prepared = run(tmp_path, phase(schedule={"epochs": 2, "lr": 1e-4}), net)
    scores = Dmcp(phase=phase())(net, trace(net), replace(toy_calibration(), learned=prepared.learned))
    assert {name: score.shape for name, score in scores.items()} == {
        group.name: (group.size,) for group in trace(net)
    }


def test_permuted_channels_have_permuted_ranks() -> None:
    net, groups = toy(Residual), traced(Residual)
    before = phase()._ranks(net, groups, toy_calibration())
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    permute(net, groups[0], order)
    after = phase()._ranks(net, groups, toy_calibration())
    assert torch.equal(after[groups[0].name], before[groups[0].name][order])


def test_a_network_that_had_no_phase_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dmcp scores a network after the training of its gates"):
        Dmcp(phase=phase())(toy(Residual), traced(Residual), toy_calibration())


def test_a_phase_that_trains_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.epochs is 0.*give it at least 2"):
        phase(schedule={"epochs": 0})


def test_it_declares_a_phase_of_its_own_for_every_budget() -> None:
    assert isinstance(Dmcp(phase=phase()), TrainedPruner)
    assert phase().needs_budget


def test_the_figure_names_groups_and_the_asked_cost(tmp_path: Path) -> None:
    prepared = run(tmp_path, phase())
    gates, cost, *_ = phase().figure(prepared.learned).axes
    assert [label.get_text() for label in gates.get_yticklabels()] == ["stem.0", "inner.0"]
    assert [text.get_text() for text in cost.get_legend().get_texts()] == ["expected", "asked"]
