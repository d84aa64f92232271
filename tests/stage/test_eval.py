import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from segprune.budget.fraction import FractionBudget
from segprune.errors import ConfigError
from segprune.loss.ce import CrossEntropy
from segprune.measure.cost import cost
from segprune.measure.evaluate import evaluate
from segprune.measure.miou import segmentation_metrics
from segprune.measure.passes import Passes
from segprune.model.contract import SegmentationNet
from segprune.result.headline import headline
from segprune.result.row import Row
from segprune.result.table import chain_table
from segprune.stage.contract import Context
from segprune.stage.eval import Eval, EvalSettings
from segprune.stage.oracle import OracleSettings
from segprune.stage.state import NetState, Trail
from segprune.tracking.silent import SilentRun
from tests.odd_nets import DroppedHead, NonLocal
from tests.stage.test_prune import dense
from tests.stage.test_prune import stage as prune_stage
from tests.tiny import FACTS, tiny_context, tiny_data
from tests.toys import toy


def stage(**changes: object) -> Eval:
    values: dict[str, object] = {
        "batch_size": 4,
        "boundary_width": 0.05,
        "small_object_area": 0.3,
        "latency_batch_size": 1,
        "latency_rounds": 3,
        "latency_warmup": 0,
        "latency_clock": "wall",
        "runtimes": ("eager",),
        "overlay_images": 0,
        "hd95": False,
        "tile": None,
        "overlap": 0.25,
        "flips": False,
        "scales": (1.0,),
        "oracle": OracleSettings(samples=0, images=4, batch_size=2, copies=1, loss=CrossEntropy()),
    }
    return Eval(word="eval", settings=EvalSettings(**{**values, **changes}))


def rows_of(ctx: Context, trail: Trail, **changes: object) -> tuple[Row, ...]:
    ctx.rows.clear()
    stage(**changes)(ctx, trail)
    return tuple(ctx.rows)


def test_rows_say_what_the_networks_are_worth_and_cost(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = prune_stage()(ctx, dense())
    assert stage()(ctx, trail) == trail
    rows = {row.stage: row for row in ctx.rows}
    assert list(rows) == ["dense", "pruned_raw", "pruned"]
    for state in trail:
        counts = evaluate(
            state.net,
            ctx.data.report,
            num_classes=4,
            ignore_index=255,
            batch_size=1,
            workers=0,
            device=torch.device("cpu"),
        )
        row, expected = rows[state.name], segmentation_metrics(counts)
        assert row["miou_percent"] == pytest.approx(100 * expected.miou)
        assert row["pixel_accuracy_percent"] == pytest.approx(100 * expected.pixel_accuracy)
        assert (row["params"], row["macs"]) == (
            cost(state.net, (16, 16)).params,
            cost(state.net, (16, 16)).macs,
        )
        assert row["miou_retention"] == pytest.approx(row["miou_percent"] / rows["dense"]["miou_percent"])
    assert (
        rows["pruned"]["channels"],
        rows["pruned"]["channels_dense"],
        rows["pruned"]["channels_kept"],
    ) == (
        5,
        10,
        0.5,
    )
    assert (rows["dense"]["speedup"], rows["dense"].pruner, rows["pruned"].pruner) == (1.0, None, "l1")
    # the two cut networks have the same widths, so they share one measurement
    assert rows["pruned"]["latency_ms_median"] == rows["pruned_raw"]["latency_ms_median"]


def test_an_evaluation_done_before_is_read_back(tmp_path: Path) -> None:
    first = rows_of(tiny_context(tmp_path), dense())
    again = tiny_context(tmp_path)
    assert rows_of(again, dense()) == first
    assert again.store.computed == []


@pytest.mark.slow
def test_the_same_network_is_scored_once_for_all_runs_that_share_it(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    stage()(ctx, dense())
    trail = prune_stage()(ctx, dense())
    ctx.store.computed.clear()
    stage()(ctx, trail)
    assert [name.split("/")[0] for name in ctx.store.computed] == ["quality", "quality", "eval"]


def test_the_name_of_the_run_measures_nothing_anew(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail: Trail = dense()
    (row,) = rows_of(ctx, trail)
    (renamed,) = rows_of(tiny_context(tmp_path, facts=replace(FACTS, run="other")), trail)
    assert (renamed.run, replace(renamed, run=row.run)) == ("other", row)
    for changes in ({"latency_rounds": 4}, {"boundary_width": 0.1}, {"small_object_area": 0.1}):
        assert stage().key(ctx, trail) != stage(**changes).key(ctx, trail)
    other = (NetState(name="dense", net=trail[0].net, transforms=(), fingerprint="another"),)
    assert stage().key(ctx, trail) != stage().key(ctx, other)


@pytest.mark.slow
def test_tables_and_figure_are_written(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = prune_stage()(ctx, dense())
    stage(overlay_images=2)(ctx, trail)
    (folder,) = (tmp_path / "store" / "eval").glob("*/rows.json")
    assert len(json.loads(folder.read_text())) == 3
    per_class = (folder.parent / "per_class.csv").read_text().splitlines()
    assert per_class[0].startswith("class,dense,pruned_raw,pruned")
    assert [line.split(",")[0] for line in per_class[1:]] == ["none", "red", "green", "blue"]
    confusion = pd.read_csv(folder.parent / "confusion.csv")
    scores = pd.read_csv(folder.parent / "class_scores.csv")
    for row in ctx.rows:
        mine = confusion[confusion["stage"] == row.stage].filter(like="as ").to_numpy()
        assert mine.sum() == 6 * 32 * 32
        assert row["pixel_accuracy_percent"] == pytest.approx(100 * mine.trace() / mine.sum())
        dice = scores[scores["stage"] == row.stage]["dice_percent"]
        assert row["dice_percent"] == pytest.approx(dice.mean())
    assert (folder.parent / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (folder.parent / "predictions.png").read_bytes().startswith(b"\x89PNG")
    stage()(ctx, dense())
    assert sum(1 for _ in (tmp_path / "store" / "eval").glob("*/predictions.png")) == 1


@pytest.mark.slow
def test_the_report_tells_the_run_from_the_baseline_to_its_last_network(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = prune_stage()(ctx, dense())
    rows = rows_of(ctx, trail)
    (path,) = (tmp_path / "store" / "eval").glob("*/evaluation_report.json")
    report = json.loads(path.read_text())
    assert report["setting"]["images"] == 6
    assert (report["baseline"]["stage"], report["candidate"]["stage"]) == ("dense", "pruned")
    assert report["candidate"]["metrics"]["miou_percent"] == rows[-1]["miou_percent"]
    assert [one["class"] for one in report["classes"]] == ["none", "red", "green", "blue"]
    for score, mean_of in (("dice", "dice"), ("recall", "mean_accuracy")):
        mean = sum(one[f"candidate_{score}_percent"] for one in report["classes"]) / 4
        assert mean == pytest.approx(rows[-1][f"{mean_of}_percent"])
    mean = sum(one["candidate_iou_percent"] for one in report["classes"]) / 4
    assert mean == pytest.approx(rows[-1]["miou_percent"])
    borders = [one["baseline_boundary_iou_percent"] for one in report["classes"]]
    assert sum(borders) / 4 == pytest.approx(rows[0]["boundary_iou_percent"])
    assert report["layers"] == [
        {"layer": "stem.0", "part": None, "channels_before": 6, "channels_after": 3},
        {"layer": "inner.0", "part": None, "channels_before": 4, "channels_after": 2},
    ]


@pytest.mark.slow
def test_the_counts_of_every_image_are_kept_for_every_network(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = prune_stage()(ctx, dense())
    stage()(ctx, trail)
    (path,) = (tmp_path / "store" / "eval").glob("*/image_counts.safetensors")
    kept = load_file(path)
    assert list(kept) == ["dense", "pruned", "pruned_raw"]
    for row in ctx.rows:
        assert (kept[row.stage].shape, kept[row.stage].dtype) == ((6, 4, 4), torch.int32)
        pooled = kept[row.stage].sum(0)
        assert int(pooled.sum()) == 6 * 32 * 32
        assert row["pixel_accuracy_percent"] == pytest.approx(100 * float(pooled.trace() / pooled.sum()))


@dataclass(frozen=True)
class Recorder(SilentRun):
    """Remembers files and metrics."""

    files: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)

    def file(self, path: Path, /, folder: str = "") -> None:
        self.files.append(f"{folder}/{path.name}")

    def metrics(self, values: Mapping[str, float], /, *, step: int | None = None) -> None:
        self.values.update(values)


@pytest.mark.slow
def test_the_tracker_gets_files_and_headline_numbers_computed_or_reused(tmp_path: Path) -> None:
    ctx, first, again = tiny_context(tmp_path), Recorder(), Recorder()
    trail = prune_stage()(ctx, dense())
    for tracker in (first, again):
        stage(overlay_images=2)(replace(ctx, tracker=tracker), trail)
    files = (
        *("rows.json", "evaluation_report.json", "per_class.csv", "class_scores.csv", "confusion.csv"),
        *("confusion.png", "predictions.png"),
    )
    assert first.files == again.files == [f"eval/{name}" for name in files]
    assert first.values == again.values == headline(rows_of(ctx, trail, overlay_images=2))


@pytest.mark.slow
def test_a_finetuned_dense_network_is_not_called_pruned(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    (state,) = dense()
    trail = (state, NetState(name="finetuned", net=state.net, transforms=(), fingerprint="more training"))
    row = rows_of(ctx, trail)[1]
    assert (row.stage, row.pruner, row.ratio_asked, row["channels_kept"]) == ("finetuned", None, None, 1.0)


@pytest.mark.slow
def test_a_chain_from_a_cut_network_counts_its_own_cuts_only(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    cut_once = prune_stage()(ctx, dense())[-1]
    begin = NetState(
        name="start", net=cut_once.net, transforms=cut_once.transforms, fingerprint=cut_once.fingerprint
    )
    trail = prune_stage(ratio=0.4)(ctx, (begin,))
    first, _, last = rows_of(ctx, trail)
    assert (first.stage, first["channels"], first["channels_kept"], first.pruner) == ("start", 5, 1.0, None)
    assert (last["channels"], last["channels_dense"], last["ratio_reached"]) == (3, 5, pytest.approx(0.4))


class Runner:
    """Stands for a deployed file: it has images in and logits out, and nothing inside that anybody could see."""

    def __init__(self, predict: Callable[[Tensor], Tensor]) -> None:
        self.predict = predict

    def __call__(self, image: Tensor) -> Tensor:
        return self.predict(image)


@pytest.mark.slow
def test_a_runner_beside_networks_is_measured_as_the_network_that_it_runs(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = prune_stage()(ctx, dense())
    deployed = replace(
        trail[-1], name="deployed", net=Runner(trail[-1].module.forward), fingerprint="deployed", folder=None
    )
    rows = {row.stage: row for row in rows_of(ctx, (*trail, deployed), overlay_images=2)}
    mine, theirs = rows["deployed"], rows["pruned"]
    for name in ("miou_percent", "boundary_iou_percent", "logit_mse", "channels_kept", "small_objects"):
        assert mine[name] == theirs[name]
    assert mine["frames_per_s"] > 0
    assert (mine.transforms, theirs.transforms) == (("cut 5 channels of 2 layers",) * 2)
    for name in (
        "params",
        "macs",
        "macs_kept",
        "file_size_bytes",
        "peak_memory_mb",
        "realisation_efficiency",
    ):
        assert mine[name] is None
    assert "deployed" in chain_table(list(rows.values()))


def test_a_runner_alone_is_measured(tmp_path: Path) -> None:
    ctx, (state,) = tiny_context(tmp_path), dense()
    alone = (replace(state, net=Runner(state.module.forward), fingerprint="alone"),)
    (whole,), (ran,) = (rows_of(ctx, trail) for trail in ((state,), alone))
    assert ran["miou_percent"] == whole["miou_percent"]
    assert ran["channels"] is ran["channels_kept"] is ran["params"] is None


def test_a_runner_is_refused_by_those_who_need_a_network(tmp_path: Path) -> None:
    (state,) = dense()
    runner = (replace(state, name="deployed", net=Runner(state.module.forward)),)
    with pytest.raises(
        ConfigError, match=r"deployed is a runner \(Runner\), which can only be evaluated\. In stages"
    ):
        prune_stage()(tiny_context(tmp_path), runner)


def test_a_latency_of_another_machine_is_not_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, trail = tiny_context(tmp_path), dense()
    here = stage().key(ctx, trail)
    assert stage(batch_size=1).key(ctx, trail) == here  # does not change a result
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert stage().key(ctx, trail) != here


def test_rows_that_would_say_something_else_are_not_reused(tmp_path: Path) -> None:
    ctx, trail = tiny_context(tmp_path), dense()
    palette = ((9, 9, 9), *ctx.data.palette[1:])
    others = [
        replace(ctx.data, name="other"),
        replace(ctx.data, report_split="val"),
        replace(ctx.data, palette=palette),
    ]
    keys = {
        stage().key(one, trail)
        for one in (ctx, replace(ctx, seed=7), *(replace(ctx, data=one) for one in others))
    }
    assert len(keys) == 5


@pytest.mark.slow
def test_the_images_and_those_that_follow_another_one_are_in_every_row(tmp_path: Path) -> None:
    for frames in (0, 1):  # the second is not taken from the store
        data = replace(tiny_data(), report_frames=frames)
        (row,) = rows_of(tiny_context(tmp_path, data=data), dense())
        assert (row["report_images"], row["report_frames"]) == (len(data.report), frames)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NonLocal, DroppedHead])
def test_the_plan_and_the_rows_say_the_same_of_macs_and_params(
    kind: type[SegmentationNet], tmp_path: Path
) -> None:
    ctx = tiny_context(tmp_path, build=lambda: toy(kind))
    first = NetState(name="dense", net=ctx.build(), transforms=(), fingerprint="dense")
    budget = FractionBudget(of="macs", scope="paper", floor=0.0, round_to=1, tolerance=0.2)
    stage()(ctx, prune_stage(budget=budget)(ctx, (first,)))
    (path,) = (tmp_path / "store" / "prune").glob("*/plan.json")
    plan, row = json.loads(path.read_text()), ctx.rows[-1]
    assert (plan["macs_removed"], plan["params_removed"]) == (1 - row["macs_kept"], 1 - row["params_kept"])
    assert 0.3 < plan["macs_removed"] == plan["removed"]


def test_processor_time_is_refused_on_a_gpu_before_anything_is_trained(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    there = replace(ctx, hardware=replace(ctx.hardware, device=torch.device("cuda", 0)))
    stage(latency_clock="cpu").refuse(ctx, ())
    stage(runtimes="auto").refuse(there, ())
    with pytest.raises(ConfigError, match=r"settings\.latency_clock is cpu, but the device is cuda:0"):
        stage(latency_clock="cpu").refuse(there, ())


@pytest.mark.slow
def test_how_images_are_shown_is_in_rows_and_fingerprints_and_costs_are_of_one_pass(tmp_path: Path) -> None:
    plain = tiny_context(tmp_path)
    tiles = replace(tiny_context(tmp_path), passes=Passes(tile=(8, 8), flips=True))
    (one,), (other,) = (rows_of(ctx, dense()) for ctx in (plain, tiles))
    assert (one.passes, other.passes) == (None, "tiles 8x8 px, overlap 0.25; mirrored too")
    assert 4 * other["macs"] == one["macs"]
    assert (other.size_h_px, other.size_w_px) == (16, 16)
    assert [name.split("/")[0] for name in tiles.store.computed] == ["quality", "eval"]


@pytest.mark.slow
def test_distances_of_borders_are_measured_on_request_only(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    (without,), (measured,) = rows_of(ctx, dense()), rows_of(ctx, dense(), hd95=True)
    assert (without["hd95_px"], without["hd95_missed"]) == (None, None)
    assert measured["hd95_px"] > 0
    assert without["miou_percent"] == measured["miou_percent"]
    assert 0 <= measured["hd95_missed"] < 6 * 4  # images by classes
