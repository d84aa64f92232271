import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segprune.dataset.contract import Batch, Identity
from segprune.errors import ConfigError
from segprune.graph.trace import trace
from segprune.loss.ce import CrossEntropy
from segprune.measure.loss_change import joint_loss_change, loss_changes, mean_losses
from segprune.result.files import PLAN
from segprune.stage import oracle
from segprune.stage.calibration import CalibrationSet
from segprune.stage.contract import Context
from segprune.stage.oracle import (
    OracleReport,
    OracleSettings,
    cut_of,
    oracle_of_trail,
    oracle_report,
    scored_of,
)
from segprune.stage.state import NetState
from segprune.training.loss import segmentation_loss
from tests.stage.test_eval import stage as evaluate
from tests.stage.test_prune import dense as cut_dense
from tests.stage.test_prune import stage as cut_stage
from tests.tiny import Items, tiny_context, tiny_data, tiny_net

LOSS = segmentation_loss(CrossEntropy(), ignore_index=255, class_weights=None, aux_weight=0.0)
SCORES = {
    "stem.0": torch.tensor([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]),
    "inner.0": torch.tensor([9.0, 7.0, 8.0, 6.0]),
}


def settings(**changes: int) -> OracleSettings:
    values = {"samples": 100, "images": 8, "batch_size": 4, "copies": 3, "loss": CrossEntropy()}
    return OracleSettings(**{**values, **changes})


def dense(fingerprint: str = "dense") -> NetState:
    return NetState(name="dense", net=tiny_net().eval(), transforms=(), fingerprint=fingerprint)


def report(
    ctx: Context,
    *,
    scores: Mapping[str, Tensor] = SCORES,
    ratio: float = 0.5,
    scope: str = "local",
    **changes: int,
) -> OracleReport:
    found = oracle_report(settings(**changes), ctx, dense(), scores, ratio=ratio, scope=scope)
    assert found is not None
    return found


def all_images(ctx: Context) -> list[Batch]:
    """As one batch: the mean over equal batches, but for rounding."""
    items = [ctx.data.calibration[index] for index in range(8)]
    return [Batch(torch.stack([item.image for item in items]), torch.stack([item.label for item in items]))]


def test_a_report_says_what_each_channel_and_the_lowest_together_do_to_the_loss(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    found, net, batches = report(ctx), tiny_net(), all_images(ctx)
    groups = trace(net)
    probed = [(group.name, channel) for group in groups for channel in range(group.size)]
    changes = loss_changes(net, groups, probed, batches, LOSS, copies=1)
    table = found.channels
    assert list(table.columns) == ["layer", "channel", "loss_change", "score"]
    assert list(zip(table["layer"], table["channel"], strict=True)) == probed
    assert table["loss_change"].to_numpy() == pytest.approx(changes, abs=1e-6)
    assert table["score"].tolist() == [float(SCORES[name][channel]) for name, channel in probed]
    (base,) = mean_losses(net, groups, [{}], batches, LOSS, copies=1)
    assert found.base_loss == pytest.approx(base, abs=1e-6)
    lowest = {"stem.0": (0, 1, 2), "inner.0": (1, 3)}  # half of each group, by SCORES
    joint = joint_loss_change(net, groups, lowest, batches, LOSS)
    assert found.joint_loss_change == pytest.approx(joint, abs=1e-6)
    size = dict(zip(probed, np.abs(table["loss_change"]), strict=True))
    best: set[tuple[str, int]] = set()
    for name, count in (("stem.0", 3), ("inner.0", 2)):
        best |= set(sorted((unit for unit in probed if unit[0] == name), key=size.__getitem__)[:count])
    hits = len(best & {(name, channel) for name, channels in lowest.items() for channel in channels})
    assert (found.agreement.k, found.agreement.precision_at_k) == (5, hits / 5)
    assert found.agreement.expected_precision == pytest.approx(0.5)


def test_the_control_removes_as_many_channels_of_each_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Mapping[str, list[int]]] = []

    def spy(*args: object) -> float:
        removed.append(args[2])
        return 0.0

    monkeypatch.setattr(oracle, "joint_loss_change", spy)
    report(tiny_context(tmp_path), ratio=0.3, scope="global")
    found = report(tiny_context(tmp_path, seed=1), ratio=0.4, scope="local", samples=9)
    assert removed[0] == {"stem.0": [0, 1, 2]}  # the lowest three of all ten are in the stem
    assert {name: len(channels) for name, channels in removed[1].items()} == {"stem.0": 3}
    chosen, drawn = removed[2:]
    assert {name: len(set(channels)) for name, channels in drawn.items()} == {
        name: len(channels) for name, channels in chosen.items()
    }
    probed = set(zip(found.channels["layer"], found.channels["channel"], strict=True))
    assert len(probed) == 9
    assert {(name, channel) for name, channels in drawn.items() for channel in channels} < probed
    assert drawn != chosen


def test_loss_changes_are_measured_once_for_all_criteria(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    first = report(ctx)
    assert len(ctx.store.computed) == 2  # single channels, and the set
    other = {name: -score for name, score in SCORES.items()}
    second = report(ctx, scores=other)
    assert len(ctx.store.computed) == 3
    assert first.channels["loss_change"].equals(second.channels["loss_change"])
    assert first.joint_loss_change != second.joint_loss_change
    assert first.joint_loss_change_random == second.joint_loss_change_random
    again = report(tiny_context(tmp_path), copies=2)
    assert again.metrics() == first.metrics()
    assert again.channels.equals(first.channels)


def test_what_changes_the_loss_changes_is_measured_anew(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    keys = [
        oracle.key_of(settings(), ctx, dense()),
        oracle.key_of(settings(), ctx, dense("another")),
        oracle.key_of(settings(samples=5), ctx, dense()),
        oracle.key_of(settings(images=4), ctx, dense()),
        oracle.key_of(settings(batch_size=2), ctx, dense()),
        oracle.key_of(settings(), replace(ctx, seed=1), dense()),
        oracle.key_of(settings(), replace(ctx, data=tiny_data(size_hw=(32, 32))), dense()),
    ]
    changed = Identity(fit="f", calibration="other images", select="s", report="r")
    keys.append(oracle.key_of(settings(), replace(ctx, data=tiny_data(identity=changed)), dense()))
    assert len(set(keys)) == len(keys)
    others = Identity(fit="x", calibration="c", select="x", report="x")
    assert (
        oracle.key_of(settings(copies=1), replace(ctx, data=tiny_data(identity=others)), dense()) == keys[0]
    )


class Noted(Items):
    def __init__(self) -> None:
        super().__init__(40, seed=0)
        self.read: list[int] = []

    def __getitem__(self, index: int, /) -> Batch:
        self.read.append(index)
        return super().__getitem__(index)


def test_the_images_are_others_than_those_of_the_criteria(tmp_path: Path) -> None:
    items = Noted()
    ctx = tiny_context(tmp_path, data=tiny_data(calibration=items))
    CalibrationSet(images=8, batch_size=4).calibration(ctx, CrossEntropy(), aux_weight=0.0)
    scored_on, items.read = sorted(items.read), []
    report(ctx)
    measured_on = sorted(set(items.read))
    assert len(scored_on) == len(measured_on) == 8
    assert measured_on != scored_on


def test_metrics_are_named_and_leave_out_what_is_not_defined(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    metrics = report(ctx).metrics()
    assert list(metrics) == [
        "precision_at_k",
        "precision_at_k_random",
        "spearman",
        "joint_loss_change",
        "joint_loss_change_random",
        "channels",
        "base_loss",
    ]
    assert all(isinstance(value, (int, float)) and np.isfinite(value) for value in metrics.values())
    assert metrics["channels"] == 10
    constant = {name: torch.ones(len(score)) for name, score in SCORES.items()}
    nothing = report(ctx, scores=constant, ratio=0.0).metrics()
    assert set(metrics) - set(nothing) == {
        "precision_at_k",
        "precision_at_k_random",
        "spearman",
    }
    assert nothing["joint_loss_change"] == nothing["joint_loss_change_random"] == 0.0


def test_without_samples_there_is_no_oracle(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    assert oracle_report(settings(samples=0), ctx, dense(), SCORES, ratio=0.5, scope="local") is None
    assert ctx.store.used == []


def test_what_is_stored_is_plain_json(tmp_path: Path) -> None:
    found = report(tiny_context(tmp_path), samples=3)
    (path,) = (tmp_path / "store" / "oracle").glob("*/loss_changes.json")
    stored = json.loads(path.read_text())
    assert sorted(stored) == ["base_loss", "channels", "loss_changes"]
    assert stored["channels"] == found.channels[["layer", "channel"]].to_numpy().tolist()
    assert stored["loss_changes"] == found.channels["loss_change"].tolist()


@pytest.mark.slow
def test_a_cut_is_found_in_a_chain_and_between_checkpoints(tmp_path: Path) -> None:
    (before,) = start = cut_dense()
    trail = cut_stage()(tiny_context(tmp_path), start)
    _, raw, pruned = trail
    for nets in (
        trail,
        (before, pruned),
        (before, raw, pruned, replace(pruned, name="tuned", folder=tmp_path)),
    ):
        found = cut_of(nets)
        assert found is not None
        assert (found[0].name, found[1]) == ("dense", pruned.folder)
    for nets in ((pruned,), (before,), (before, replace(pruned, folder=None))):
        assert cut_of(nets) is None
    # the report of a comparison is that of the chain
    ctx = tiny_context(tmp_path)
    two = (before, replace(pruned, name="candidate"))
    whole, compared = (oracle_of_trail(settings(), ctx, nets) for nets in (trail, two))
    assert whole is not None
    assert compared is not None
    assert whole.metrics() == compared.metrics()
    # earlier versions did not say what was scored
    path = Path(str(pruned.folder)) / PLAN
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "scored"})
    )
    assert scored_of(trail) is before
    assert cut_of((before, pruned)) is None


def test_an_oracle_that_there_cannot_be_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    asked = replace(evaluate().settings, oracle=settings(samples=7))
    with pytest.raises(
        ConfigError, match=r"oracle\.samples is 7, but the oracle needs .* Give candidate=<checkpoint"
    ):
        replace(evaluate(), settings=asked)(tiny_context(tmp_path), cut_dense())
    assert not (tmp_path / "store").exists()
