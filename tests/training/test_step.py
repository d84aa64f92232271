import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from segprune.dataset.contract import Batch
from segprune.errors import TrainingError
from segprune.stage.fit import log_epochs
from segprune.tracking.silent import SilentRun
from segprune.training.loop import fit
from segprune.training.step import READ_EVERY, Step, Training
from tests.tiny import CPU, tiny_context, tiny_data, tiny_net, tiny_schedule
from tests.toys import Residual, toy


def training(folder: Path, **schedule: object) -> Training:
    return Training(
        data=tiny_data(),
        schedule=tiny_schedule(**schedule),
        seed=0,
        hardware=CPU,
        folder=folder,
        on_epoch=lambda _: None,
    )


class Shifted(Step):
    """Adds 1 to every gradient."""

    def adjust_gradients(self) -> None:
        for parameter in self.net.parameters():
            if parameter.grad is not None:
                parameter.grad += 1.0


def test_gradients_are_adjusted_after_clipping_and_before_the_update(tmp_path: Path) -> None:
    # plain SGD: the two networks then differ by exactly lr * 1, however hard the gradients were clipped
    of = training(tmp_path, optimizer="sgd", momentum=0.0, lr=0.5, grad_clip=0.001, decay="constant")
    plain, shifted = tiny_net(), tiny_net()
    batch = [tiny_data().fit[index] for index in range(4)]
    stacked = type(batch[0])(torch.stack([b.image for b in batch]), torch.stack([b.label for b in batch]))
    Step(plain, of, 1).epoch([stacked], 0)
    Shifted(shifted, of, 1).epoch([stacked], 0)
    for a, b in zip(plain.parameters(), shifted.parameters(), strict=True):
        assert torch.allclose(a - b, torch.full_like(a, 0.5), atol=1e-6)


def test_the_penalty_moves_the_scales_of_batch_norms_alone_and_by_its_weight(tmp_path: Path) -> None:
    # plain SGD, one update: the two differ by exactly lr * penalty * sign(scale), whatever was clipped
    keys = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.5, "grad_clip": 0.001, "decay": "constant"}
    nets = toy(Residual), toy(Residual)
    batch = batches(1)
    for net, penalty in zip(nets, (0.0, 0.25), strict=True):
        Step(net, training(tmp_path, penalty=penalty, **keys), 1).epoch(batch, 0)
    plain, sparse = (dict(net.named_parameters()) for net in nets)
    before = dict(toy(Residual).named_parameters())
    norms = [n for n, layer in nets[0].named_modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms
    for name, value in plain.items():
        is_scale = name in {f"{norm}.weight" for norm in norms}
        moved = 0.5 * 0.25 * before[name].sign() if is_scale else torch.zeros_like(value)
        assert torch.allclose(value - sparse[name], moved, atol=1e-6), name


def test_sparse_training_tells_its_penalty_and_the_share_of_small_scales(tmp_path: Path) -> None:
    net = toy(Residual)
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    count = sum(layer.num_features for layer in norms)
    with torch.no_grad():
        for layer in norms:
            layer.weight.fill_(0.5)
        norms[0].weight[0] = -0.05
    found = Step(net, training(tmp_path, penalty=0.2), 1).scale_facts()
    assert found["penalty"] == pytest.approx(0.2 * (0.5 * (count - 1) + 0.05))
    assert found["scales_below_0.1"] == pytest.approx(100 / count)
    assert found["scales_below_0.01"] == 0
    assert Step(net, training(tmp_path), 1).scale_facts() == {}


def test_a_step_has_no_facts_of_its_own(tmp_path: Path) -> None:
    step = Step(tiny_net(), training(tmp_path), 2)
    assert step.facts() == {}
    assert set(step.state_dict()) == {"optimizer", "scaler"}


def batches(count: int) -> list[Batch]:
    """Batches of four images."""
    items = [tiny_data().fit[index] for index in range(4)]
    stacked = Batch(torch.stack([i.image for i in items]), torch.stack([i.label for i in items]))
    return [stacked] * count


class Half(Step):
    """Trains in float16, whose loss scaling begins at ``scale`` and falls by ``backoff`` after an overflow."""

    scale, backoff = 2.0**100, 0.5

    def __init__(self, *given) -> None:
        super().__init__(*given)
        self.amp = torch.float16
        self.scaler = torch.amp.GradScaler("cpu", init_scale=self.scale, backoff_factor=self.backoff)


class Recorder(SilentRun):
    """A tracker that remembers metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[dict[str, float]] = []

    def metrics(self, values, /, *, step=None) -> None:
        del step
        self.logged.append(dict(values))


class Recovers(Half):
    backoff = 2.0**-90


def test_an_epoch_whose_updates_all_overflow_names_the_key_that_ends_it(tmp_path: Path) -> None:
    net, of = tiny_net(), replace(training(tmp_path), key="finetune")
    with pytest.raises(TrainingError, match=r"all 3 updates of epoch 1 overflowed in float16") as refused:
        Half(net, of, 3).epoch(batches(3), 0)
    assert str(refused.value).endswith("Give finetune.amp=none.")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), tiny_net().parameters(), strict=True))


def test_updates_that_overflow_are_counted_logged_and_tracked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trained, curve, _ = fit(tiny_net(), training(tmp_path, epochs=2), Recovers)
    assert [epoch.facts for epoch in curve] == [{"overflows": 1}, {"overflows": 0}]
    said = [record.message for record in caplog.records]
    assert "  1 updates left out: float16 overflowed" in said[0]
    assert "left out" not in said[1]
    pairs = zip(trained.parameters(), tiny_net().parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)
    tracker = Recorder()
    log_epochs(replace(tiny_context(tmp_path), tracker=tracker), "train", curve)
    assert [values["train/overflows"] for values in tracker.logged] == [1, 0]


def test_other_precisions_say_nothing_of_overflows(tmp_path: Path) -> None:
    _, curve, _ = fit(tiny_net(), training(tmp_path), Step)
    assert [epoch.facts for epoch in curve] == [{}, {}]


class Reads(TorchDispatchMode):
    """Counts the numbers that are read from tensors; each waits for a GPU until it has finished."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def test_steps_read_no_number_from_the_device(tmp_path: Path) -> None:
    of = training(tmp_path, optimizer="sgd", grad_clip=1.0)
    step = Step(tiny_net(), of, READ_EVERY + 1)
    with Reads() as reads:
        step.epoch(batches(READ_EVERY + 1), 0)
    assert reads.count == 0  # losses come as two lists, which is a copy each


class Bad(Step):
    """Its losses are not finite from the batch ``bad`` on, counted from 1."""

    bad = 3
    seen = 0

    def backward(self, batch: Batch, window: int) -> Tensor:
        self.seen += 1
        return super().backward(batch, window) * (math.inf if self.seen >= self.bad else 1.0)


@pytest.mark.parametrize("bad", [1, 3, READ_EVERY, READ_EVERY + 1, 2 * READ_EVERY + 3])
def test_a_loss_that_is_not_finite_ends_training_soon_and_its_own_step_is_named(
    tmp_path: Path, bad: int
) -> None:
    steps = 2 * READ_EVERY + 3
    step = Bad(tiny_net(), training(tmp_path), steps)
    step.bad = bad
    with pytest.raises(TrainingError, match=rf"loss is inf at epoch 1, step {bad} of {steps} "):
        step.epoch(batches(steps), 0)
    assert bad <= step.seen < bad + READ_EVERY


def test_the_loss_of_an_epoch_is_the_mean_of_all_its_steps(tmp_path: Path) -> None:
    class Counts(Step):
        numbers: Iterator[int]

        def backward(self, batch: Batch, window: int) -> Tensor:
            super().backward(batch, window)
            return torch.tensor(float(next(self.numbers)))

    steps = READ_EVERY + 5
    step = Counts(tiny_net(), training(tmp_path), steps)
    step.numbers = iter(range(1, steps + 1))
    assert step.epoch(batches(steps), 0) == (steps + 1) / 2


@pytest.mark.slow
def test_a_compiled_network_trains_as_the_network_itself(tmp_path: Path) -> None:
    plain, compiled = tiny_net(), tiny_net()
    Step(plain, training(tmp_path, optimizer="sgd"), 2).epoch(batches(2), 0)
    Step(compiled, training(tmp_path, optimizer="sgd", compile=True), 2).epoch(batches(2), 0)
    for (name, a), b in zip(plain.state_dict().items(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)
