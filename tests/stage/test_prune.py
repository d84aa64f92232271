import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segprune.budget.budget import Budget
from segprune.errors import BudgetError, CutError
from segprune.pruner.contract import Calibration
from segprune.pruner.l1 import L1
from segprune.pruner.taylor import Taylor
from segprune.stage import prune
from segprune.stage.contract import NetState, Trail
from segprune.stage.prune import CalibrationSet, Prune, reestimate_batchnorm
from tests.tiny import tiny_context, tiny_net
from tests.toys import Concat, toy, toy_batches

BUDGET = Budget(of="channels", scope="paper", floor=0.0, round_to=1, tolerance=0.1)


def stage(**changes: object) -> Prune:
    values: dict[str, object] = {
        "pruner": L1(normalize="none"),
        "budget": BUDGET,
        "ratio": 0.5,
        "calibration": CalibrationSet(images=8, batch_size=4),
        "aux_weight": 0.4,
    }
    return Prune(**{**values, **changes})


def dense() -> Trail:
    return (NetState(name="dense", net=tiny_net().eval(), plans=(), fingerprint="dense"),)


def test_the_trail_gets_the_raw_and_the_reestimated_network(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    _, raw, pruned = stage()(ctx, dense())
    assert (raw.name, pruned.name) == ("pruned_raw", "pruned")
    assert sum(len(removed) for plan in pruned.plans for removed in plan.values()) == 5  # of 6 + 4
    weights = zip(raw.net.named_parameters(), pruned.net.named_parameters(), strict=True)
    assert all(name == same and torch.equal(a, b) for (name, a), (same, b) in weights)
    assert not torch.equal(raw.net.stem[1].running_mean, pruned.net.stem[1].running_mean)
    kept = [c for c in range(6) if c not in pruned.plans[0]["stem.0"]]
    assert torch.equal(raw.net.stem[1].running_mean, tiny_net().stem[1].running_mean[kept])


def test_a_reused_cut_is_the_same_cut(tmp_path: Path) -> None:
    first = stage(pruner=Taylor(variant="gate"))(tiny_context(tmp_path), dense())
    second = stage(pruner=Taylor(variant="gate"))(tiny_context(tmp_path), dense())
    for a, b in zip(first[1:], second[1:], strict=True):
        assert (a.fingerprint, a.plans) == (b.fingerprint, b.plans)
        image = torch.rand(1, 3, 16, 16)
        assert torch.equal(a.net(image), b.net(image))


def test_ratio_zero_changes_no_output(tmp_path: Path) -> None:
    before, raw, pruned = stage(ratio=0.0)(tiny_context(tmp_path), dense())
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(raw.net(image), before.net(image))
    assert dict(pruned.plans[0]) == {}


def test_the_plan_file_says_what_was_asked_and_reached(tmp_path: Path) -> None:
    stage()(tiny_context(tmp_path), dense())
    (path,) = (tmp_path / "store" / "prune").glob("*/plan.json")
    plan = json.loads(path.read_text())
    assert (plan["asked"], plan["channels"], plan["scope"], plan["budget"]) == (0.5, 0.5, "local", "channels")
    assert plan["layers"] == [
        {"layer": "stem.0", "channels": 6, "kept": 3},
        {"layer": "inner.0", "channels": 4, "kept": 2},
    ]
    assert plan["mask_error"] < 1e-13


def test_an_unproven_cut_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "mask_error", lambda *_: 0.02)
    with pytest.raises(
        CutError, match=r"differs from the network with the same channels set to zero by 2\.0e-02"
    ):
        stage()(tiny_context(tmp_path), dense())


class Silent(L1):
    def __call__(self, net, groups, calibration: Calibration) -> dict[str, Tensor]:
        return {group.name: torch.full((group.size,), float("nan")) for group in groups}


def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"no finite score for each of the 6 channels of 'stem\.0'"):
        stage(pruner=Silent(normalize="none"))(tiny_context(tmp_path), dense())


def test_reestimated_statistics_are_averages_over_the_batches() -> None:
    net, batches = toy(Concat), toy_batches(count=3)
    seen: list[Tensor] = []
    hook = net.stem[0].register_forward_hook(lambda *call: seen.append(call[2].detach()))
    weights = [parameter.clone() for parameter in net.parameters()]
    reestimate_batchnorm(net, batches)
    hook.remove()
    norm = net.stem[1]
    assert isinstance(norm, nn.BatchNorm2d)
    means = torch.stack([maps.mean((0, 2, 3)) for maps in seen]).mean(0)
    variances = torch.stack([maps.var((0, 2, 3)) for maps in seen]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-6)
    assert torch.allclose(norm.running_var, variances, atol=1e-6)
    assert norm.momentum == 0.1
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
