from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup
from segprune.graph.trace import trace
from segprune.pruner.cap import Cap, ContextStep, ContextTraining, context
from segprune.pruner.contract import Calibration, Target, TrainedPruner
from segprune.pruner.gather import norms
from segprune.training.step import Epoch, Training
from tests.gpus import without_memory
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import traced
from tests.tiny import CPU, tiny_data, tiny_net, tiny_schedule
from tests.toys import Concat, Plain, SqueezeExcite, toy, toy_batches, toy_calibration


def phase(**changes: object) -> ContextTraining:
    values = {"penalty": 0.125, "memory": 0.9, "softening": 0.1, "pool": 17, "schedule": tiny_schedule()}
    return ContextTraining(**{**values, **changes})


def training(folder: Path, of: ContextTraining, on_epoch=lambda _: None) -> Training:
    folder.mkdir(exist_ok=True)
    return Training(
        data=tiny_data(), schedule=of.schedule, seed=0, hardware=CPU, folder=folder, on_epoch=on_epoch
    )


class TestCap(PrunerBattery):
    paper_scope = "global"
    duplicates = "equal"

    @staticmethod
    def build() -> Cap:
        return Cap(phase=phase())

    @pytest.fixture
    def groups(self, net) -> tuple[ChannelGroup, ...]:
        return tuple(group for group in traced(type(net)) if norms(net, group))

    @pytest.fixture
    def calibration(self) -> Calibration:
        return replace(toy_calibration(), learned={})


def test_context_by_hand() -> None:
    # rows a, a, b with a and b at right angles: affinities 1 within a, 0 across; with e = exp(1) a row of a has
    # softmax (e, e, 1) / (2e + 1), that of b (1, 1, e) / (e + 2). Others' attention: to an a
    # e / (2e + 1) + 1 / (e + 2), to b 2 / (2e + 1).
    maps = torch.zeros(1, 3, 1, 2)
    maps[0, 0, 0, 0], maps[0, 1, 0, 0], maps[0, 2, 0, 1] = 1.0, 3.0, 2.0
    e = torch.e
    given = torch.tensor([e / (2 * e + 1) + 1 / (e + 2)] * 2 + [2 / (2 * e + 1)])
    torch.testing.assert_close(context(maps, 17), given / given.mean())


def test_half_precision_of_the_training_does_not_reach_the_context() -> None:
    maps = torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = context(maps.bfloat16(), 17)
    assert torch.equal(found, context(maps.bfloat16().float(), 17))


def test_no_value_is_read_while_the_network_runs() -> None:
    with without_memory():  # has no values
        assert context(torch.zeros(2, 5, 8, 8, device="cuda"), 4).shape == (5,)


def test_context_is_of_the_activated_pooled_maps_and_has_mean_one() -> None:
    maps = torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(context(maps, 17), context(maps.relu(), 17))
    assert context(maps, 4).mean().item() == pytest.approx(1.0)
    assert torch.equal(context(maps[:, :1], 17), torch.ones(1))


def test_duplicates_have_equal_and_permuted_channels_permuted_context() -> None:
    maps = torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    maps[:, 3] = maps[:, 1]
    value = context(maps, 17)
    assert torch.isclose(value[3], value[1])
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(context(maps[:, order], 17), value[order])


def test_even_contexts_give_the_gradients_of_slimming(tmp_path: Path) -> None:
    net = toy(Plain).train()
    step = ContextStep(net, traced(Plain), training(tmp_path, phase()), 1, phase=phase())
    for name, scale in step.scales.items():
        scale.grad = torch.zeros_like(scale)
        step.contexts[name] = torch.ones_like(scale)
    step.adjust_gradients()
    for scale in step.scales.values():
        torch.testing.assert_close(scale.grad, 0.125 * scale.detach().sign())


def test_the_penalty_is_divided_by_the_context(tmp_path: Path) -> None:
    step = ContextStep(toy(Plain), traced(Plain), training(tmp_path, phase()), 1, phase=phase())
    assert step.pressure("first.1") == 1.0
    step.contexts["first.1"] = torch.tensor([0.0, 1.0, 2.1])
    torch.testing.assert_close(step.pressure("first.1"), torch.tensor([11.0, 1.0, 0.5]))


def test_contexts_are_a_moving_average_seen_in_training_only(tmp_path: Path) -> None:
    net, of = toy(Plain), phase(penalty=1e-30, schedule=tiny_schedule(lr=1e-30))
    step = ContextStep(net, traced(Plain), training(tmp_path, of), 2, phase=of)
    seen: list[torch.Tensor] = []
    with net.first[1].register_forward_hook(lambda *call: seen.append(context(call[2], 17))):
        step.epoch(toy_batches(), 0)
        net.eval()(toy_batches()[0].image)
    torch.testing.assert_close(step.contexts["first.1"], 0.9 * seen[0] + 0.1 * seen[1])
    assert not any(module._forward_hooks for module in net.modules())


def test_a_phase_killed_after_an_epoch_ends_in_the_same_bits(tmp_path: Path) -> None:
    of, net = phase(schedule=tiny_schedule(epochs=3)), tiny_net()
    common = {
        "calibration": toy_calibration(),
        "target": Target(share=1.0, remaining=lambda keep: torch.ones(())),
    }
    groups = [group for group in trace(net) if group.name == "inner.0"]
    whole = of(net, groups, training=training(tmp_path / "whole", of), **common)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        of(net, groups, training=training(tmp_path / "killed", of, stop), **common)
    resumed = of(net, groups, training=training(tmp_path / "killed", of), **common)
    for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_channels_without_a_scale_are_refused_under_its_own_name() -> None:
    with pytest.raises(ConfigError, match=r"pruner cap: it cannot score bare \(no batch norm"):
        phase().refuse(toy(Plain), traced(Plain), torch.zeros(1, 3, 16, 16))


def test_norms_of_vectors_are_refused_before_training() -> None:
    net = toy(SqueezeExcite)
    with pytest.raises(ConfigError, match=r"pruner cap: it cannot score squeeze\.0 \(its layers do not all"):
        phase().refuse(net, trace(net), torch.zeros(1, 3, 16, 16))
    phase().refuse(toy(Concat), traced(Concat), torch.zeros(1, 3, 16, 16))


def test_a_network_that_had_no_phase_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cap scores a network after its sparse training"):
        Cap(phase=phase())(toy(Concat), traced(Concat), toy_calibration())
    assert isinstance(Cap(phase=phase()), TrainedPruner)
