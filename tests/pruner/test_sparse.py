from pathlib import Path

import pytest
import torch
from torch import nn

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Target
from segprune.pruner.sparse import EDGES, SparseStep, SparseTraining
from segprune.training.step import Epoch, Training
from tests.pruner.surgery import traced
from tests.tiny import CPU, tiny_data, tiny_net, tiny_schedule
from tests.toys import Concat, Plain, toy, toy_calibration

TARGET = Target(share=1.0, remaining=lambda keep: torch.ones(()))


def phase(penalty: float = 0.01, **schedule: object) -> SparseTraining:
    return SparseTraining(penalty=penalty, schedule=tiny_schedule(**{"keep": "last", **schedule}))


def training(folder: Path, of: SparseTraining, on_epoch=lambda _: None) -> Training:
    folder.mkdir(exist_ok=True)
    return Training(
        data=tiny_data(), schedule=of.schedule, seed=0, hardware=CPU, folder=folder, on_epoch=on_epoch
    )


def batch() -> Batch:
    items = [tiny_data().fit[index] for index in range(4)]
    return Batch(torch.stack([i.image for i in items]), torch.stack([i.label for i in items]))


def gradients(net: SegmentationNet, folder: Path, penalty: float) -> dict[str, torch.Tensor]:
    of = phase(penalty)
    step = SparseStep(net.train(), trace(net), training(folder, of), 1, penalty=penalty)
    step.backward(batch(), 1)
    step.adjust_gradients()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def test_the_penalty_adds_exactly_lambda_times_the_sign(tmp_path: Path) -> None:
    nets = [toy(Plain), toy(Plain)]
    for net in nets:
        with torch.no_grad():
            net.first[1].weight[:3] = torch.tensor([-0.5, 0.0, 0.25])
    none, some = (
        gradients(net, tmp_path, penalty) for net, penalty in zip(nets, (1e-30, 0.125), strict=True)
    )
    assert none.keys() == some.keys()
    for name, gradient in some.items():
        if name in ("first.1.weight", "second.1.weight"):
            scale = dict(nets[0].named_parameters())[name]
            torch.testing.assert_close(gradient - none[name], 0.125 * scale.sign(), rtol=0, atol=1e-6)
        else:
            assert torch.equal(gradient, none[name])
    assert some["first.1.weight"][1] == none["first.1.weight"][1]  # no push at 0


def test_synchronised_norms_are_pressed_too(tmp_path: Path) -> None:
    # which train only on a GPU, so the loss has no say here
    net = nn.SyncBatchNorm.convert_sync_batchnorm(toy(Concat))
    step = SparseStep(net, traced(Concat), training(tmp_path, phase()), 1, penalty=0.125)
    norms = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.SyncBatchNorm)}
    assert set(step.scales) == set(norms)
    for layer in norms.values():
        layer.weight.grad = torch.zeros_like(layer.weight)
    step.adjust_gradients()
    for layer in norms.values():
        assert torch.equal(layer.weight.grad, 0.125 * layer.weight.detach().sign())


def test_the_scale_of_the_loss_does_not_scale_the_penalty(tmp_path: Path) -> None:
    # plain SGD with and without the loss scaling of half precision, in full precision: the same update
    updated = []
    for is_scaled in (False, True):
        net, of = toy(Plain).train(), phase(optimizer="sgd", momentum=0.0, lr=0.5, decay="constant")
        step = SparseStep(net, traced(Plain), training(tmp_path, of), 1, penalty=0.125)
        step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=is_scaled)
        step.epoch([batch()], 0)
        updated.append(net.first[1].weight.detach().clone())
    torch.testing.assert_close(updated[1], updated[0])
    assert not torch.equal(updated[0], toy(Plain).first[1].weight)


def test_norms_behind_which_nothing_is_prunable_are_left_alone(tmp_path: Path) -> None:
    net = toy(Plain)
    groups = [group for group in traced(Plain) if group.name == "second.0"]
    step = SparseStep(net, groups, training(tmp_path, phase()), 1, penalty=1.0)
    assert set(step.scales) == {"second.1"}


def test_a_stronger_penalty_leaves_smaller_scales(tmp_path: Path) -> None:
    sums = []
    for penalty in (1e-6, 1.0):
        of = phase(penalty, epochs=4, optimizer="sgd", lr=0.05)
        prepared = of(
            tiny_net(),
            trace(tiny_net()),
            training=training(tmp_path / str(penalty), of),
            calibration=toy_calibration(),
            target=TARGET,
        )
        sums.append(
            sum(
                float(m.weight.detach().abs().sum())
                for m in prepared.net.modules()
                if isinstance(m, nn.BatchNorm2d)
            )
        )
    assert sums[1] < 0.8 * sums[0]


def test_histograms_count_every_scale_before_and_after_each_epoch(tmp_path: Path) -> None:
    net, of = tiny_net(), phase(epochs=3)
    prepared = of(
        net, trace(net), training=training(tmp_path, of), calibration=toy_calibration(), target=TARGET
    )
    histogram = prepared.learned["histogram"]
    assert histogram.shape == (4, len(EDGES) - 1)
    assert histogram.sum(1).tolist() == [16] * 4  # norms of 6, 4 and 6 channels
    at_one = int(torch.searchsorted(EDGES, 1.0, right=True)) - 1
    assert int(histogram[0, at_one]) == 16  # a new network has scales of 1
    facts = prepared.curve[0].facts
    assert set(facts) == {"scales_below_0.1", "scales_below_0.01", "scales_below_0.001"}


def test_shares_below_thresholds_by_hand(tmp_path: Path) -> None:
    net = toy(Plain)
    with torch.no_grad():
        net.first[1].weight[:] = torch.tensor([0.0, -0.005, 0.05, 0.5, 1.0, -2.0])
        net.second[1].weight[:] = torch.tensor([0.0005, -0.09, 0.1, 1.0, 1.0])
    step = SparseStep(net, traced(Plain), training(tmp_path, phase()), 1, penalty=1.0)
    assert step.facts() == {
        "scales_below_0.1": pytest.approx(500 / 11),  # 0, .005, .05, .0005, .09
        "scales_below_0.01": pytest.approx(300 / 11),
        "scales_below_0.001": pytest.approx(200 / 11),
    }


def test_a_phase_killed_after_an_epoch_ends_in_the_same_bits(tmp_path: Path) -> None:
    of, net = phase(epochs=3), tiny_net()
    common = {"calibration": toy_calibration(), "target": TARGET}
    whole = of(net, trace(net), training=training(tmp_path / "whole", of), **common)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        of(net, trace(net), training=training(tmp_path / "killed", of, stop), **common)
    resumed = of(net, trace(net), training=training(tmp_path / "killed", of), **common)
    assert torch.equal(whole.learned["histogram"], resumed.learned["histogram"])
    assert whole.curve == resumed.curve
    for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_phase_that_trains_nothing_or_keeps_an_early_epoch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.epochs is 0.*pruner=bn_scale"):
        phase(epochs=0)
    with pytest.raises(ConfigError, match=r"schedule\.keep is 'best'; it must be 'last'"):
        phase(keep="best")


def test_channels_without_a_scale_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"pruner slimming: it cannot score bare \(no batch norm"):
        phase().refuse(toy(Plain), traced(Plain), torch.zeros(1, 3, 16, 16))
    phase().refuse(toy(Concat), traced(Concat), torch.zeros(1, 3, 16, 16))


def test_the_figure_shows_time_and_both_ends() -> None:
    counts = torch.zeros(3, len(EDGES) - 1, dtype=torch.int64)
    counts[:, 10] = 4
    over_time, ends, *_ = phase().figure({"histogram": counts}).axes
    assert over_time.get_xlabel() == "epoch of the sparse training"
    assert [text.get_text() for text in ends.get_legend().get_texts()] == ["before", "after"]
