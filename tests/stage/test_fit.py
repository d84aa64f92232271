import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.config.component import component
from segprune.errors import ConfigError
from segprune.measure.cost import Cost
from segprune.result.files import CURVE
from segprune.stage.fit import Fit, arithmetic, inputs_of, read_curve
from segprune.stage.state import NetState
from segprune.training.step import Hardware, Step
from tests.gpus import with_gpus
from tests.tiny import CPU, tiny_context, tiny_data, tiny_net, tiny_schedule


def stage(word: str = "train", makes: str = "dense", **schedule: object) -> Fit:
    return Fit(word=word, makes=makes, schedule=tiny_schedule(**schedule))


class Recorder:
    run_id, url_hint = "run-1", ""

    def __init__(self) -> None:
        self.points: list[tuple[str, int | None]] = []
        self.tagged: dict[str, str] = {}

    def metrics(self, values, /, *, step=None) -> None:
        self.points += [(name, step) for name in values]

    def tags(self, values, /) -> None:
        self.tagged |= values


def test_the_same_training_is_done_once_and_its_curve_is_logged_both_times(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    object.__setattr__(ctx, "tracker", Recorder())
    (first,) = stage()(ctx, ())
    computed, points = dict(ctx.tracker.tagged), list(ctx.tracker.points)
    again = tiny_context(tmp_path)
    object.__setattr__(again, "tracker", Recorder())
    (second,) = stage()(again, ())
    assert first.fingerprint == second.fingerprint
    assert all(
        torch.equal(a, b) for a, b in zip(first.net.parameters(), second.net.parameters(), strict=True)
    )
    assert computed == {"stage.train": "computed", "stage.train.source_run": "run-1"}
    assert again.tracker.tagged == {"stage.train": "reused", "stage.train.source_run": "run-1"}
    assert points == again.tracker.points
    assert set(points) == {(f"train/{name}", step) for name in ("loss", "lr", "val_miou") for step in (1, 2)}


def test_what_can_change_the_result_changes_the_fingerprint(tmp_path: Path) -> None:
    keys = [
        stage()(tiny_context(tmp_path), ())[0].fingerprint,
        stage(epochs=1)(tiny_context(tmp_path), ())[0].fingerprint,
        stage()(tiny_context(tmp_path, seed=1), ())[0].fingerprint,
        stage(lr=0.02)(tiny_context(tmp_path), ())[0].fingerprint,
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("role", "schedule", "matters"),
    [
        ("fit", {}, True),
        ("calibration", {"class_weights": "sqrt"}, True),
        ("calibration", {"class_weights": "none"}, False),
        ("select", {"keep": "best"}, True),
        ("select", {"keep": "last"}, True),  # its mIoU is in the curve
        ("report", {}, False),
    ],
)
def test_other_data_trains_again_only_where_it_matters(
    tmp_path: Path, role: str, schedule: dict[str, str], matters: bool
) -> None:
    data = tiny_data()
    other = tiny_data(identity=replace(data.identity, **{role: "changed"}))
    keys = [
        stage(**schedule)(tiny_context(tmp_path, data=which), ())[0].fingerprint for which in (data, other)
    ]
    assert (keys[0] != keys[1]) is matters


def test_half_precision_of_another_kind_is_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, driver = replace(CPU, device=torch.device("cuda", 0)), with_gpus(monkeypatch, 1)
    ctx, found = replace(tiny_context(tmp_path), hardware=gpu), []
    for capability in ((8, 0), (7, 0)):
        driver.capability = capability
        found.append(inputs_of(ctx, tiny_schedule(amp="auto")))
    assert found[0] == {**found[1], "autocast": "torch.bfloat16"}
    assert found[1]["autocast"] == "torch.float16"


@pytest.mark.parametrize(
    ("capability", "changes", "expected"),
    [
        ((8, 0), {}, "bfloat16"),
        ((7, 5), {}, "float16"),
        ((8, 0), {"amp": "none"}, "tf32"),
        ((7, 5), {"amp": "none"}, "float32"),
        ((8, 0), {"compile": True}, "bfloat16, compiled"),
        ((8, 0), {"gpus": 2}, "bfloat16, 2 GPUs"),
    ],
)
def test_a_row_says_how_its_network_was_trained(
    capability: tuple[int, int],
    changes: dict[str, object],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpus(monkeypatch, 1).capability = capability
    gpus = changes.pop("gpus", 1)
    hardware = Hardware(device=torch.device("cuda", 0), workers=0, gpus=gpus)
    assert arithmetic(tiny_schedule(**changes), hardware) == expected


def test_what_a_training_was_like_goes_along_with_its_network(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage("finetune", "finetuned", epochs=1)(ctx, stage()(ctx, ()))
    assert [state.training for state in trail] == ["float32", "float32"]
    assert stage(epochs=0)(tiny_context(tmp_path / "untrained"), ())[0].training is None


def test_finetuning_for_no_epochs_adds_nothing(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage()(ctx, ())
    assert stage("finetune", "finetuned", epochs=0)(ctx, trail) == trail
    longer = stage("finetune", "finetuned", epochs=1)(ctx, trail)
    assert [state.name for state in longer] == ["dense", "finetuned"]


def test_a_network_that_was_cut_to_a_quarter_trains_four_times_as_long_for_the_same_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage()(ctx, ())
    small = replace(trail[0], name="pruned", net=copy.deepcopy(trail[0].net))
    macs = {id(trail[0].net): 1000, id(small.net): 250}
    monkeypatch.setattr("segprune.stage.fit.cost", lambda net, _: Cost(params=1, macs=macs[id(net)]))
    finetune = replace(stage("finetune", "finetuned", epochs=1), is_stretched=True)
    counted = replace(stage("finetune", "finetuned", epochs=4))
    assert finetune(ctx, (*trail, small))[-1].fingerprint == counted(ctx, (*trail, small))[-1].fingerprint
    assert (
        len(read_curve(ctx.store.get("finetune", counted(ctx, (*trail, small))[-1].fingerprint, fail))) == 4
    )


def fail(folder: Path) -> None:
    raise AssertionError(f"{folder} was made again")


def test_training_for_no_epochs_changes_no_bit(tmp_path: Path) -> None:
    (dense,) = stage(epochs=0)(tiny_context(tmp_path), ())
    assert all(
        torch.equal(a, b) for a, b in zip(weights(dense), tiny_net().state_dict().values(), strict=True)
    )


TAUGHT = '''
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from segprune.training.step import Step


@dataclass(frozen=True, kw_only=True)
class Taught:
    weight: float

    def __call__(self, ctx, trail):
        return lambda net, training, steps: TaughtStep(net, training, steps, trail[0].net, self.weight)


class TaughtStep(Step):
    """Draws the logits towards a learnt mixture of the teacher's."""

    def __init__(self, net, training, steps, teacher, weight):
        super().__init__(net, training, steps)
        self.teacher, self.weight = teacher, weight
        classes = len(training.data.classes)
        self.mixture = torch.nn.Conv2d(classes, classes, 1)
        self.own = torch.optim.SGD(self.mixture.parameters(), lr=0.1, momentum=0.9)

    def backward(self, batch, window):
        loss = super().backward(batch, window)
        image, _ = self.on_device(batch)
        with torch.no_grad():
            taught = self.teacher(image)
        distance = F.mse_loss(self.net.all_logits(image)[0], self.mixture(taught))
        (self.weight * distance / window).backward()
        return loss + self.weight * float(distance.detach())

    def update(self):
        super().update()
        self.own.step()
        self.own.zero_grad()

    def state_dict(self):
        mine = {"mixture": self.mixture.state_dict(), "own": self.own.state_dict()}
        return {**super().state_dict(), **mine}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.mixture.load_state_dict(state["mixture"])
        self.own.load_state_dict(state["own"])
'''


@pytest.fixture
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fit]:
    """A finetune stage as YAML gives it, whose step is in a user's own package."""
    (tmp_path / "classroom").mkdir()
    (tmp_path / "classroom" / "__init__.py").write_text(TAUGHT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "classroom", raising=False)

    def make(weight: float = 0.5, **schedule: object) -> Fit:
        node = {
            "_target_": "segprune.stage.fit.Fit",
            "word": "finetune",
            "makes": "finetuned",
            "schedule": tiny_schedule(**{"epochs": 3, **schedule}),
            "is_stretched": False,
            "starts": False,
            "step": {"_target_": "classroom.Taught", "weight": weight},
        }
        return component(node, "finetune", extensions=["classroom"])()

    return make


@pytest.mark.slow
def test_a_step_of_a_users_package_learns_from_the_first_network_of_the_trail(
    tmp_path: Path, taught: Callable[..., Fit]
) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage()(ctx, ())
    plain, half, one = (
        fit(ctx, trail)[-1]
        for fit in (stage("finetune", "finetuned", epochs=3), taught(), taught(weight=1.0))
    )
    other = replace(trail[0], net=copy.deepcopy(trail[0].net), fingerprint="another teacher")
    with torch.no_grad():
        other.net.head.bias += 1.0
    again = taught()(ctx, (other, trail[0]))[-1]
    states = (plain, half, one, again)
    assert len({state.fingerprint for state in states}) == 4
    assert len({tuple(state.net.head.bias.tolist()) for state in states}) == 4
    losses = [epoch["loss"] for epoch in json.loads((half.folder / CURVE).read_text())]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_step_of_ones_own_ends_in_the_same_bits_after_a_kill(
    tmp_path: Path, taught: Callable[..., Fit]
) -> None:
    def after(folder: Path, *, killed_at: int | None) -> NetState:
        ctx = tiny_context(folder)
        trail = stage()(ctx, ())
        if killed_at is not None:
            object.__setattr__(ctx, "tracker", Kills(killed_at))
            with pytest.raises(KeyboardInterrupt):
                taught()(ctx, trail)
            object.__setattr__(ctx, "tracker", Recorder())
        return taught()(ctx, trail)[-1]

    whole = after(tmp_path / "whole", killed_at=None)
    for epoch in (1, 2):
        resumed = after(tmp_path / f"killed-{epoch}", killed_at=epoch)
        assert resumed.fingerprint == whole.fingerprint
        assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(whole), strict=True))


def test_what_makes_a_step_must_be_a_dataclass_and_that_is_told_before_work(tmp_path: Path) -> None:
    made_by_function = replace(stage(), step=lambda ctx, trail: Step)
    with pytest.raises(ConfigError, match=r"function must be a dataclass: its fields tell its results apart"):
        made_by_function.refuse(tiny_context(tmp_path), ())


class Kills(Recorder):
    """A tracker during whose report of one epoch the process is interrupted."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def metrics(self, values, /, *, step=None) -> None:
        if step == self.epoch:
            raise KeyboardInterrupt


def weights(state: NetState) -> list[torch.Tensor]:
    return list(state.net.state_dict().values())
