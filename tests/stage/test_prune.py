import json
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from segprune.budget.fraction import FractionBudget
from segprune.budget.threshold import ThresholdBudget
from segprune.dataset.contract import Batch
from segprune.errors import ConfigError, CutError, DataError, TrainingError
from segprune.loss.ce import CrossEntropy
from segprune.loss.dice import Dice
from segprune.measure.cost import cost
from segprune.model.contract import SegmentationNet
from segprune.model.copies import ready
from segprune.pruner.dmcp import Dmcp, MarkovTraining
from segprune.pruner.fgp import Fgp
from segprune.pruner.fisher import Fisher
from segprune.pruner.l1 import L1
from segprune.pruner.slimming import Slimming
from segprune.pruner.sparse import SparseTraining
from segprune.pruner.taylor import Taylor
from segprune.result.files import SCORES
from segprune.stage import rounds
from segprune.stage.calibration import CalibrationSet
from segprune.stage.prune import Prune
from segprune.stage.state import NetState, Trail
from tests.odd_nets import DeadStages, DroppedHead, FunctionalConvs, Multihead, NonLocal
from tests.tiny import Items, tiny_context, tiny_data, tiny_net, tiny_schedule
from tests.toys import Plain, Residual, conv_bn, toy

BUDGET = FractionBudget(of="channels", scope="paper", floor=0.0, round_to=1, tolerance=0.1)


def stage(**changes: object) -> Prune:
    values: dict[str, object] = {
        "pruner": L1(normalize="none"),
        "budget": BUDGET,
        "ratio": 0.5,
        "rounds": 1,
        "between": tiny_schedule(epochs=1),
        "init": "inherited",
        "calibration": CalibrationSet(images=8, batch_size=4),
        "loss": CrossEntropy(),
        "aux_weight": 0.4,
    }
    return Prune(**{"word": "prune", **values, **changes})


def dense() -> Trail:
    net = ready(tiny_net(), torch.device("cpu"))
    return (NetState(name="dense", net=net, transforms=(), fingerprint="dense"),)


def test_the_trail_gets_the_raw_and_the_reestimated_network(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    _, raw, pruned = stage()(ctx, dense())
    assert (raw.name, pruned.name) == ("pruned_raw", "pruned")
    assert sum(len(removed) for cut in pruned.transforms for removed in cut.plan.values()) == 5  # of 6 + 4
    weights = zip(raw.net.named_parameters(), pruned.net.named_parameters(), strict=True)
    assert all(name == same and torch.equal(a, b) for (name, a), (same, b) in weights)
    assert not torch.equal(raw.net.stem[1].running_mean, pruned.net.stem[1].running_mean)
    kept = [c for c in range(6) if c not in pruned.transforms[0].plan["stem.0"]]
    assert torch.equal(raw.net.stem[1].running_mean, tiny_net().stem[1].running_mean[kept])


@pytest.mark.slow
def test_a_reused_cut_is_the_same_cut(tmp_path: Path) -> None:
    first = stage(pruner=Taylor(variant="gate"))(tiny_context(tmp_path), dense())
    second = stage(pruner=Taylor(variant="gate"))(tiny_context(tmp_path), dense())
    for a, b in zip(first[1:], second[1:], strict=True):
        assert (a.fingerprint, a.transforms) == (b.fingerprint, b.transforms)
        image = torch.rand(1, 3, 16, 16)
        assert torch.equal(a.net(image), b.net(image))


def test_noise_of_float_ranges_makes_no_other_cut() -> None:
    ratio = TypeAdapter(get_type_hints(Prune, include_extras=True)["ratio"])
    assert [ratio.validate_python(value) for value in (0.30000000000000004, 0.3, None)] == [0.3, 0.3, None]


def test_ratio_zero_changes_no_output(tmp_path: Path) -> None:
    before, raw, pruned = stage(ratio=0.0)(tiny_context(tmp_path), dense())
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(raw.net(image), before.net(image))
    assert dict(pruned.transforms[0].plan) == {}


@pytest.mark.slow
def test_the_plan_file_says_what_was_asked_and_reached(tmp_path: Path) -> None:
    stage()(tiny_context(tmp_path), dense())
    (path,) = (tmp_path / "store" / "prune").glob("*/plan.json")
    plan = json.loads(path.read_text())
    assert (plan["asked"], plan["channels_removed"], plan["scope"], plan["budget"]) == (
        0.5,
        0.5,
        "local",
        "channels",
    )
    assert plan["layers"] == [
        {"layer": "stem.0", "channels": 6, "kept": 3},
        {"layer": "inner.0", "channels": 4, "kept": 2},
    ]
    assert plan["mask_error"] < 1e-13
    assert (plan["round_to"], plan["unaligned"]) == (1, {})


@pytest.mark.slow
def test_widths_that_are_no_multiples_are_logged_and_in_the_plan_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        stage(budget=replace(BUDGET, round_to=4))(tiny_context(tmp_path), dense())
    (path,) = (tmp_path / "store" / "prune").glob("*/plan.json")
    # of 6 and 4 channels half stay: both groups are too narrow for steps of 4
    plan = json.loads(path.read_text())
    assert (plan["round_to"], plan["unaligned"]) == (4, {"stem.0": 3, "inner.0": 2})
    assert "no multiple of budget.round_to=4 is the width of stem.0 3, inner.0 2" in caplog.messages


@pytest.mark.slow
def test_a_training_between_rounds_that_diverges_names_its_own_keys(tmp_path: Path) -> None:
    diverges = stage(rounds=2, between=tiny_schedule(optimizer="sgd", lr=1e30))
    ctx = replace(tiny_context(tmp_path), keys={"stage.prune.between": "between"})
    with pytest.raises(TrainingError, match=r"Lower between\.lr, lengthen between\.warmup_epochs"):
        diverges(ctx, dense())


def test_an_unproven_cut_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "mask_error", lambda *_: 0.02)
    with pytest.raises(
        CutError, match=r"differs from the network with the same channels set to zero by 2\.0e-02"
    ):
        stage()(tiny_context(tmp_path), dense())


def sparse(**schedule: object) -> Slimming:
    return Slimming(phase=SparseTraining(penalty=0.01, schedule=tiny_schedule(**schedule)))


class WithNorms(Residual):
    """Every channel has a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.bare = conv_bn(6, 6)


def with_norms() -> Residual:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WithNorms()


@pytest.mark.slow
def test_a_criterion_with_a_phase_cuts_the_network_after_it(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path, build=with_norms)
    start = (NetState(name="dense", net=with_norms().eval(), transforms=(), fingerprint="dense"),)
    _, prepared, raw, _ = stage(pruner=sparse())(ctx, start)
    assert (prepared.name, raw.name) == ("prepared", "pruned_raw")
    assert not torch.equal(prepared.net.stem[0].weight, start[0].net.stem[0].weight)
    kept = [c for c in range(6) if c not in raw.transforms[0].plan["stem.0"]]
    assert torch.equal(raw.net.stem[0].weight, prepared.net.stem[0].weight[kept])


@pytest.mark.slow
def test_rounds_train_in_between_and_end_at_the_same_width(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    pruned = stage(rounds=2, ratio=0.4)(ctx, dense())[-1]
    assert [sum(map(len, cut.plan.values())) for cut in pruned.transforms] == [2, 2]
    assert [name.split("/")[0] for name in ctx.store.computed] == ["score", "between_1", "prune"]
    report = json.loads((pruned.folder / "plan.json").read_text())
    assert (report["rounds"], report["asked"], report["channels_removed"]) == (2, 0.4, pytest.approx(0.4))
    assert sum(layer["channels"] - layer["kept"] for layer in report["layers"]) == 4


@pytest.mark.slow
def test_rounds_repeat_the_phase_of_a_criterion_that_has_one(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path, build=with_norms)
    start = (NetState(name="dense", net=with_norms().eval(), transforms=(), fingerprint="dense"),)
    stage(pruner=sparse(epochs=1), rounds=2)(ctx, start)
    assert [name.split("/")[0] for name in ctx.store.computed] == ["prepare", "score", "prepare", "prune"]


@pytest.mark.slow
def test_scratch_takes_the_initial_weights_at_the_places_that_are_left(tmp_path: Path) -> None:
    trained = tiny_net().eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)
    start = (NetState(name="dense", net=trained, transforms=(), fingerprint="dense"),)
    pruned = stage(init="scratch")(tiny_context(tmp_path), start)[-1]
    kept = [c for c in range(6) if c not in pruned.transforms[0].plan["stem.0"]]
    assert torch.equal(pruned.net.stem[0].weight, tiny_net().stem[0].weight[kept])


def test_initial_weights_are_those_of_this_run_also_where_another_run_has_cut_the_same_network(
    tmp_path: Path,
) -> None:
    def other() -> SegmentationNet:
        net = tiny_net()
        with torch.no_grad():
            net.stem[0].weight.add_(1.0)
        return net

    ctx = tiny_context(tmp_path)
    stage(init="scratch")(ctx, dense())
    ctx = replace(ctx, build=other, about={**ctx.about, "model_files": {"checkpoint": "of another file"}})
    pruned = stage(init="scratch")(ctx, dense())[-1]
    kept = [c for c in range(6) if c not in pruned.transforms[0].plan["stem.0"]]
    assert torch.equal(pruned.module.stem[0].weight, other().stem[0].weight[kept])


class Unlabelled(Items):
    """Images of which no pixel has a class."""

    def __getitem__(self, index: int, /) -> Batch:
        image, label = super().__getitem__(index)
        return Batch(image, torch.full_like(label, 255))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("taylor", r"all gradients of 2 calibration batches are 0; taylor needs pixels with a class"),
        ("fisher", r"all gradients of 2 calibration batches are 0; fisher needs pixels with a class"),
        ("fgp", r"no pixel of the 2 calibration batches has a class; fgp needs labelled images"),
        ("dmcp", r"all gradients of 2 calibration batches are 0; taylor needs pixels with a class"),
    ],
)
def test_a_criterion_that_needs_labels_is_refused_without_them(
    tmp_path: Path, pruner: str, message: str
) -> None:
    criteria = {
        "taylor": Taylor(variant="gate"),
        "fisher": Fisher(),
        "fgp": Fgp(gradient="mean"),
        "dmcp": dmcp(order="taylor"),  # ranks its channels before it trains
    }
    ctx = tiny_context(tmp_path, data=tiny_data(calibration=Unlabelled(8, seed=0)))
    with pytest.raises(DataError, match=message + r".*Check the labels of the training split"):
        stage(pruner=criteria[pruner])(ctx, dense())


@pytest.mark.slow
def test_below_a_threshold_the_scales_of_the_sparse_network_go(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path, build=with_norms)
    start = (NetState(name="dense", net=with_norms().eval(), transforms=(), fingerprint="dense"),)
    prepared = stage(pruner=sparse())(ctx, start)[1]
    scales = prepared.net.inner[1].weight.detach().abs()
    middle = float(scales.sort().values[1:3].mean())
    below = ThresholdBudget(threshold=middle, floor=0.0, round_to=1)
    pruned = stage(pruner=sparse(), budget=below, ratio=None)(ctx, start)[-1]
    assert pruned.transforms[0].plan["inner.0"] == tuple((scales < middle).nonzero().flatten().tolist())
    assert len(pruned.transforms[0].plan["inner.0"]) == 2


def test_rounds_without_a_ratio_are_refused() -> None:
    below = ThresholdBudget(threshold=0.1, floor=0.1, round_to=1)
    with pytest.raises(ConfigError, match=r"rounds is 2, but the budget takes no ratio.*rounds=1"):
        stage(budget=below, ratio=None, rounds=2)
    with pytest.raises(ConfigError, match=r"ratio is 0\.5, but budget=threshold"):
        stage(budget=below)


def test_widths_learnt_for_a_ratio_need_one_and_one_round() -> None:
    with pytest.raises(ConfigError, match=r"rounds is 3, but pruner=dmcp.*Take rounds=1"):
        stage(pruner=dmcp(), rounds=3)
    with pytest.raises(ConfigError, match=r"pruner=dmcp learns widths for a ratio.*another budget"):
        stage(pruner=dmcp(), ratio=None, budget=ThresholdBudget(threshold=0.1, floor=0.1, round_to=1))


@pytest.mark.slow
def test_a_phase_and_its_criterion_leave_whole_what_has_no_scale(tmp_path: Path) -> None:
    net = ready(toy(Plain), torch.device("cpu"))
    trail = (NetState(name="dense", net=net, transforms=(), fingerprint="dense"),)
    *_, pruned = stage(pruner=sparse())(tiny_context(tmp_path, build=lambda: toy(Plain)), trail)
    plan = json.loads((pruned.folder / "plan.json").read_text())
    assert [(one["layer"], one["channels"]) for one in plan["unscored"]] == [("bare", 4)]
    assert [one["layer"] for one in plan["layers"]] == ["first.0", "second.0"]
    assert (plan["channels_removed"], plan["cuttable"]) == (pytest.approx(7 / 15), 1.0)  # 8 of 15 stay
    assert (pruned.module.bare.out_channels, plan["mask_error"] < 1e-12) == (4, True)


def dmcp(order: str = "index") -> Dmcp:
    phase = MarkovTraining(
        chunks=4,
        start=2.0,
        gate_lr=0.1,
        gates_from=0.0,
        budget_weight=0.1,
        sampled=0,
        order=order,
        schedule=tiny_schedule(),
    )
    return Dmcp(phase=phase)


@pytest.mark.slow
def test_learnt_widths_meet_the_budget(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    budget = FractionBudget(of="macs", scope="paper", floor=0.0, round_to=1, tolerance=0.1)
    pruned = stage(pruner=dmcp(), budget=budget, ratio=0.3)(ctx, dense())[-1]
    report = json.loads((pruned.folder / "plan.json").read_text())
    assert report["scope"] == "global"
    assert report["macs_removed"] == pytest.approx(0.3, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "of"),
    [
        (NonLocal, "macs"),
        (Multihead, "macs"),
        (FunctionalConvs, "macs"),
        (DroppedHead, "macs"),
        (DeadStages, "params"),
    ],
)
def test_budget_plan_and_row_say_the_same_of_products_outside_of_layers(
    kind: type[SegmentationNet], of: str, tmp_path: Path
) -> None:
    ctx = tiny_context(tmp_path, build=lambda: toy(kind))
    prune = stage(budget=replace(BUDGET, of=of, tolerance=0.2))
    prune.refuse_unreachable(ctx.build(), ctx.data.size_hw)
    first = NetState(name="dense", net=ctx.build(), transforms=(), fingerprint="dense")
    trail = prune(ctx, (first,))
    (path,) = (tmp_path / "store" / "prune").glob("*/plan.json")
    plan = json.loads(path.read_text())
    found = {state.name: cost(state.net, ctx.data.size_hw) for state in trail}
    removed = {
        name: 1 - getattr(found["pruned"], name) / getattr(found["dense"], name)
        for name in ("macs", "params")
    }
    assert {name: plan[f"{name}_removed"] for name in removed} == removed
    assert removed[of] == pytest.approx(0.5, abs=0.2)


@pytest.mark.slow
def test_a_criterion_of_the_loss_says_of_which_and_scores_by_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scores = {}
    for loss in (CrossEntropy(), Dice()):
        with caplog.at_level("INFO"):
            pruned = stage(pruner=Taylor(variant="gate"), loss=loss)(tiny_context(tmp_path), dense())[-1]
        assert f"taylor ({loss.name} loss): asked to remove 50.0% of channels" in caplog.text
        scores[loss.name] = load_file(pruned.folder / SCORES)["stem.0"]
    assert not torch.allclose(scores["ce"], scores["dice"])
    caplog.clear()
    with caplog.at_level("INFO"):
        stage(loss=Dice())(tiny_context(tmp_path), dense())
    assert "l1: asked to remove" in caplog.text


def test_trainings_are_those_of_the_rounds_and_of_the_phase(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path, build=with_norms)

    def told(**changes: object) -> list[tuple[str, int, str]]:
        return [(one.word, one.epochs, one.key) for one in stage(**changes).trainings(ctx)]

    phase = sparse(epochs=3).phase
    by_phase = "stage.prune.pruner.phase.schedule"
    assert told() == []
    assert told(rounds=3) == [("prune", 2, "stage.prune.between")]
    assert told(pruner=sparse(epochs=3)) == [("prepare", phase.schedule.epochs, by_phase)]
    assert told(pruner=sparse(epochs=3), rounds=3) == [("prepare", 3, by_phase), ("prune", 6, by_phase)]
