import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.budget.simulate import CostSimulator
from segprune.dataset.contract import Batch
from segprune.errors import ConfigError
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Prepared, Target, TrainedPruner
from segprune.pruner.dmcp import Dmcp, MarkovStep, MarkovTraining
from segprune.pruner.gates import find_gates
from segprune.pruner.markov import gated, keep_chances
from segprune.pruner.taylor import Taylor
from segprune.training.step import Epoch, Training
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
    paper_scope = "global"
    reads_network = False
    dead_goes_first = False
    duplicates = "no law"

    @staticmethod
    def build() -> Dmcp:
        return Dmcp(phase=phase())

    @pytest.fixture
    def calibration(self, net) -> Calibration:
        return replace(toy_calibration(), learned=learned_by(traced(type(net))))


@pytest.mark.slow
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


@pytest.mark.slow
def test_weights_learn_and_the_given_network_is_left_alone(tmp_path: Path) -> None:
    net = tiny_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    prepared = run(tmp_path, phase(schedule={"epochs": 12}), net)
    assert prepared.curve[-1].loss < 0.7 * prepared.curve[0].loss
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not prepared.net.training


@pytest.mark.slow
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


@pytest.mark.slow
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


def step_of(folder: Path, net: SegmentationNet, **changes: object) -> MarkovStep:
    """A step with channels in the order of their index, in training mode."""
    of, groups = phase(order="index", **changes), trace(net)
    simulator = CostSimulator(net, groups, (16, 16))
    step = MarkovStep(
        net,
        Training(
            data=tiny_data(),
            schedule=of.schedule,
            seed=0,
            hardware=CPU,
            folder=folder,
            on_epoch=lambda _: None,
        ),
        1,
        phase=of,
        groups=groups,
        ranks={group.name: torch.arange(group.size) for group in groups},
        target=Target(share=0.5, remaining=lambda keep: simulator.expected_share(keep, unit="macs")),
    )
    net.train()
    return step


def first_batch() -> Batch:
    items = [tiny_data().fit[index] for index in range(4)]
    return Batch(torch.stack([item.image for item in items]), torch.stack([item.label for item in items]))


def test_a_weight_step_is_the_loss_of_the_whole_and_what_the_narrowest_lacks_of_its_logits(
    tmp_path: Path,
) -> None:
    net, batch = tiny_net(), first_batch()
    step = step_of(tmp_path, net, sampled=0)
    twin = copy.deepcopy(net)
    step.backward(batch, 2)
    whole = twin.all_logits(batch.image)
    buffers = {name: value.clone() for name, value in twin.named_buffers()}
    # chunk 0: of 6 channels in 4 chunks the first two, of 4 the first
    narrow = {"stem.0": torch.tensor([1.0, 1, 0, 0, 0, 0]), "inner.0": torch.tensor([1.0, 0, 0, 0])}
    with gated(find_gates(twin, trace(twin), batch.image, "gate"), narrow):
        student = twin.all_logits(batch.image)[0].log_softmax(1)
    teacher = whole[0].detach().softmax(1)
    distance = (teacher * (teacher.log() - student)).sum(1).mean()
    ((step.loss(whole, batch.label) + distance) / 2).backward()
    expected = dict(twin.named_parameters())
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-6)
    for name, value in net.named_buffers():  # the whole network alone moves the running statistics
        torch.testing.assert_close(value, buffers[name])


@pytest.mark.parametrize("is_scaled", [False, True])
def test_a_gate_step_follows_the_loss_through_the_gates_and_the_budget(
    tmp_path: Path, is_scaled: bool
) -> None:
    net, batch = tiny_net(), first_batch()
    step = step_of(tmp_path, net, budget_weight=0.5)
    step.gate_optimizer = torch.optim.SGD(step.logits.values(), lr=1.0)
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=is_scaled)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    logits = {name: value.detach().clone().requires_grad_() for name, value in step.logits.items()}
    chances = {name: keep_chances(logits[name])[chunk] for name, chunk in step.chunks.items()}
    twin = copy.deepcopy(net)
    gates = find_gates(twin, trace(twin), batch.image, "gate")
    with gated(gates, {name: chance.float() for name, chance in chances.items()}):
        loss = step.loss(twin.train().all_logits(batch.image), batch.label)
    # more than the half asked for is expected at first, so that the logarithm is positive
    total = loss + 0.5 * (step.target.remaining(chances) / 0.5).log()
    total.backward()
    step._update_gates(batch)
    for name, before in logits.items():
        torch.testing.assert_close(
            step.logits[name].detach(), (before - before.grad).detach(), rtol=1e-4, atol=1e-6
        )
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_gates_leave_out_the_steps_whose_gradients_overflow(tmp_path: Path) -> None:
    net, batch = tiny_net(), first_batch()
    step = step_of(tmp_path, net)
    step.amp, step.trains_gates = torch.float16, True
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    start = {name: value.detach().clone() for name, value in step.logits.items()}
    step.backward(batch, 1)
    step.update()
    assert all(torch.equal(value, start[name]) for name, value in step.logits.items())
    step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    step.backward(batch, 1)
    step.update()
    for name, value in step.logits.items():
        assert value.isfinite().all()
        assert not torch.equal(value, start[name])


def test_sampled_networks_are_uniform_until_the_gates_are_trained(tmp_path: Path) -> None:
    step = step_of(tmp_path, tiny_net())
    with torch.no_grad():
        for logits in step.logits.values():
            logits.fill_(-100.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        early = [step._drawn()["stem.0"] for _ in range(100)]
        step.trains_gates = True
        late = [step._drawn()["stem.0"] for _ in range(10)]
    assert set(early) == {1, 2, 3, 4}
    assert set(late) == {1}


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


def test_a_step_takes_as_long_as_the_networks_in_it() -> None:
    # the whole one, the narrowest, two others; gates in the later half of the epochs
    assert replace(phase(), sampled=2, gates_from=0.5).effort == 4.5
