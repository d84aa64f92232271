"""Eval: what every network of the trail is worth and what it costs."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from segprune.budget.simulate import Unit
from segprune.graph.trace import trace
from segprune.measure.cost import MACS_RULE, Cost, cost
from segprune.measure.eval_mode import eval_mode
from segprune.measure.latency import Latency, interleaved, speedup
from segprune.measure.miou import SegScores, scores
from segprune.measure.quality import evaluate
from segprune.pruner.contract import Scope
from segprune.report.overlay import overlay
from segprune.report.row import Row, Stage, from_record, to_record
from segprune.report.table import per_class_table
from segprune.seed import derive
from segprune.stage.contract import Context, NetState, Trail, identity
from segprune.store import fingerprint

COUNTS, ROWS, PER_CLASS, OVERLAY = "confusion.json", "rows.json", "per_class.csv", "predictions.png"


@dataclass(frozen=True, kw_only=True)
class RowFacts:
    """What the rows say besides the measurements.

    Attributes:
        run: Name of the run.
        model: Option of the config group.
        pruner: Likewise.
        budget: What the ratio is a fraction of.
        scope: Where the scores were ranked.
        ratio: Fraction asked to be removed.
    """

    run: str
    model: str
    pruner: str
    budget: Unit
    scope: Scope
    ratio: float


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Measure the networks of the trail on the report split, side by side.

    Attributes:
        batch_size: Images per forward pass; does not change a result.
        latency_batch_size: Images per timed forward pass.
        latency_rounds: Timed forward passes of each network.
        latency_warmup: Untimed ones before.
        overlay_images: Report images in the prediction figure.
    """

    batch_size: Annotated[int, Field(ge=1)]
    latency_batch_size: Annotated[int, Field(ge=1)]
    latency_rounds: Annotated[int, Field(ge=1)]
    latency_warmup: Annotated[int, Field(ge=0)]
    overlay_images: Annotated[int, Field(ge=0)]
    facts: RowFacts
    word: str = "eval"

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail unchanged; rows, tables and figures go to the store and the tracker."""
        entry = ctx.store.get(self.word, self.key(ctx, trail), lambda folder: self._make(folder, ctx, trail))
        ctx.tracker.tags({f"stage.{self.word}": "reused" if entry.was_reused else "computed"})
        for name in (ROWS, PER_CLASS, OVERLAY):
            if (entry.folder / name).exists():
                ctx.tracker.file(entry.folder / name, self.word)
        ctx.tracker.tags({"macs_rule": MACS_RULE})
        ctx.tracker.metrics(_metrics(self.rows(ctx, trail)))
        return trail

    def key(self, ctx: Context, trail: Trail) -> str:
        """Fingerprint of the evaluation of this trail."""
        measured = {k: v for k, v in identity(self).items() if k not in ("facts", "batch_size")}
        inputs = {
            "data": ctx.data.identity.report,
            "eval": measured,
            "machine": _machine(ctx.hardware.device),
            "trail": [state.fingerprint for state in trail],
        }
        return fingerprint(self.word, inputs)

    def rows(self, ctx: Context, trail: Trail) -> tuple[Row, ...]:
        """The rows of a finished evaluation, one per network of the trail."""
        path = ctx.store.root / self.word / self.key(ctx, trail) / ROWS
        rows = (from_record(row) for row in json.loads(path.read_text(encoding="utf-8")))
        return tuple(replace(row, run=self.facts.run) for row in rows)

    def _make(self, folder: Path, ctx: Context, trail: Trail) -> None:
        quality = {state.name: scores(self._counts(ctx, state)) for state in trail}
        # networks of the same widths cost the same: each shape is counted once, and timed once, in turns
        shapes = {state.name: tuple(p.shape for p in state.net.parameters()) for state in trail}
        distinct = {shapes[state.name]: state.net for state in trail}
        times = dict(zip(distinct, self._latency(ctx, list(distinct.values())), strict=True))
        counted = {shape: cost(net, ctx.data.size_hw) for shape, net in distinct.items()}
        latency = {name: times[shape] for name, shape in shapes.items()}
        costs = {name: counted[shape] for name, shape in shapes.items()}
        channels = sum(group.size for group in trace(trail[0].net))
        rows = [
            from_record(
                to_record(
                    self._row(ctx, state, trail[0], channels, quality=quality, latency=latency, costs=costs)
                )
            )
            for state in trail
        ]
        (folder / ROWS).write_text(json.dumps([to_record(row) for row in rows], indent=1), encoding="utf-8")
        ious = {state.name: quality[state.name].iou for state in trail}
        per_class_table(ctx.data.classes, ious).to_csv(folder / PER_CLASS)
        if self.overlay_images:
            self._draw(folder / OVERLAY, ctx, trail)

    def _counts(self, ctx: Context, state: NetState) -> Tensor:
        """(K, K) int64 confusion counts, measured once per network however many runs share it."""

        def make(folder: Path) -> None:
            counts = evaluate(
                state.net,
                ctx.data.report,
                num_classes=len(ctx.data.classes),
                ignore_index=ctx.data.ignore_index,
                batch_size=self.batch_size,
                workers=ctx.hardware.workers,
                device=ctx.hardware.device,
            )
            (folder / COUNTS).write_text(json.dumps(counts.tolist()), encoding="utf-8")

        key = fingerprint("quality", {"data": ctx.data.identity.report, "net": state.fingerprint})
        entry = ctx.store.get("quality", key, make)
        return torch.tensor(json.loads((entry.folder / COUNTS).read_text()), dtype=torch.int64)

    def _latency(self, ctx: Context, nets: Sequence[nn.Module]) -> tuple[Latency, ...]:
        return interleaved(
            nets,
            size_hw=ctx.data.size_hw,
            batch_size=self.latency_batch_size,
            rounds=self.latency_rounds,
            warmup=self.latency_warmup,
            device=ctx.hardware.device,
            seed=derive(ctx.seed, "latency"),
        )

    def _row(
        self,
        ctx: Context,
        state: NetState,
        dense: NetState,
        channels: int,
        *,
        quality: Mapping[str, SegScores],
        latency: Mapping[str, Latency],
        costs: Mapping[str, Cost],
    ) -> Row:
        mine, base = quality[state.name], quality[dense.name]
        cuts = state.plans[len(dense.plans) :]  # those of this run
        kept = channels - sum(len(removed) for plan in cuts for removed in plan.values())
        is_cut = bool(cuts)
        here, there = costs[state.name], costs[dense.name]
        fractions = {
            "channels": kept / channels,
            "macs": here.macs / there.macs,
            "params": here.params / there.params,
        }
        time, dense_time = latency[state.name], latency[dense.name]
        return Row(
            run=self.facts.run,
            stage=cast(Stage, state.name),
            dataset=ctx.data.name,
            split=ctx.data.report_split,
            model=self.facts.model,
            pruner=self.facts.pruner if is_cut else None,
            budget=self.facts.budget if is_cut else None,
            scope=self.facts.scope if is_cut else None,
            ratio_asked=self.facts.ratio if is_cut else None,
            ratio_reached=1 - fractions[self.facts.budget] if is_cut else None,
            seed=ctx.seed,
            size_h_px=ctx.data.size_hw[0],
            size_w_px=ctx.data.size_hw[1],
            params=here.params,
            macs=here.macs,
            channels=kept,
            channels_dense=channels,
            params_kept=fractions["params"],
            macs_kept=fractions["macs"],
            channels_kept=fractions["channels"],
            miou_percent=100 * mine.miou,
            pixel_accuracy_percent=100 * mine.pixel_accuracy,
            mean_accuracy_percent=100 * mine.mean_accuracy,
            fw_iou_percent=100 * mine.fw_iou,
            classes_scored=mine.classes_scored,
            miou_retention=mine.miou / base.miou if base.miou > 0 else None,
            latency_ms_median=time.median_ms,
            latency_ms_iqr=time.iqr_ms,
            speedup=speedup(dense_time, time),
            device=str(ctx.hardware.device),
            fingerprint=state.fingerprint,
        )

    def _draw(self, path: Path, ctx: Context, trail: Trail) -> None:
        shown = min(self.overlay_images, len(ctx.data.report))
        chosen = np.linspace(0, len(ctx.data.report) - 1, shown, dtype=int).tolist()
        items = [ctx.data.report[index] for index in chosen]
        images = torch.stack([item.image for item in items])
        labels = [item.label for item in items]
        predictions: dict[str, Tensor] = {}
        for state in trail:
            with eval_mode(state.net), torch.inference_mode():
                logits = state.net(images.to(ctx.hardware.device))
            predictions[state.name] = logits.argmax(1).cpu()
        overlay(
            images,
            labels,
            predictions,
            palette=ctx.data.palette,
            ignore_index=ctx.data.ignore_index,
            classes=ctx.data.classes,
        ).savefig(path, dpi=100)


def _machine(device: torch.device) -> dict[str, str]:
    """What a latency depends on besides the networks."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": str(device),
        "name": name,
        "host": platform.node(),
        "threads": str(torch.get_num_threads()),
    }


def _metrics(rows: tuple[Row, ...]) -> dict[str, float]:
    """The run's headline numbers; percent unless the name has a unit, rounded as shown in the UI."""
    by_stage = {row.stage: row for row in rows}
    last = rows[-1]
    values = {
        "eval/miou": last.miou_percent,
        "eval/pixel_accuracy": last.pixel_accuracy_percent,
        "eval/mean_accuracy": last.mean_accuracy_percent,
        "eval/fw_iou": last.fw_iou_percent,
        "eval/channels_kept": 100 * last.channels_kept,
        "eval/macs_kept": 100 * last.macs_kept,
        "eval/params_kept": 100 * last.params_kept,
        "eval/gmacs": last.macs / 1e9,
        "eval/mparams": last.params / 1e6,
    }
    optional = {
        "eval/miou_retention": None if last.miou_retention is None else 100 * last.miou_retention,
        "eval/latency_ms": last.latency_ms_median,
        "eval/speedup": last.speedup,
        "baseline/miou": rows[0].miou_percent,
        "prune/miou_raw": by_stage["pruned_raw"].miou_percent if "pruned_raw" in by_stage else None,
        "prune/miou": by_stage["pruned"].miou_percent if "pruned" in by_stage else None,
    }
    values |= {name: value for name, value in optional.items() if value is not None}
    return {
        name: round(value, 4 if name in ("eval/gmacs", "eval/mparams") else 2)
        for name, value in values.items()
    }
