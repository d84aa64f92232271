import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.measure.cost import Cost
from segprune.stage.fit import Fit, read_curve
from tests.tiny import tiny_context, tiny_data, tiny_schedule


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
