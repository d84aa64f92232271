"""Eval: quality and cost of every network of the trail."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, PositiveInt
from safetensors.torch import save_file
from torch import Tensor

from segprune.errors import ConfigError
from segprune.gpu import name_of
from segprune.measure.boundary import boundary_iou
from segprune.measure.cost import MACS_RULE
from segprune.measure.eval_mode import eval_mode
from segprune.measure.latency import Clock, Timing
from segprune.measure.miou import segmentation_metrics
from segprune.measure.passes import Passes
from segprune.measure.quality import Rules
from segprune.result.confusion import confusion_figure, confusion_table
from segprune.result.evaluation_report import evaluation_report
from segprune.result.files import (
    CLASS_SCORES,
    CONFUSION,
    CONFUSION_FIGURE,
    IMAGE_COUNTS,
    PER_CLASS,
    PREDICTIONS,
    REPORT,
    ROWS,
)
from segprune.result.headline import headline
from segprune.result.overlay import overlay
from segprune.result.png import png
from segprune.result.row import Row, from_record, to_record
from segprune.result.slower import slower
from segprune.result.table import per_class_table, scores_table
from segprune.stage.contract import Context, Stage
from segprune.stage.dense import is_orphan, shell
from segprune.stage.facts import facts_at
from segprune.stage.identity import fingerprint_of, identity
from segprune.stage.kept import origin_of
from segprune.stage.oracle import WORD as ORACLE
from segprune.stage.oracle import OracleSettings, key_of, oracle_of_trail, refuse_no_cut, scored_of
from segprune.stage.rows import channels_kept, dense_row, groups_of, rows_of
from segprune.stage.side_by_side import WORD as QUALITY
from segprune.stage.side_by_side import footprints, qualities, quality_keys
from segprune.stage.state import NetState, Trail
from segprune.stage.times import Runtimes, refuse_runtimes, versions
from segprune.store.fingerprint import Fingerprint
from segprune.store.store import Entry

ORACLE_CHANNELS = "oracle.csv"
FILES = (
    *(ROWS, REPORT, PER_CLASS, CLASS_SCORES, CONFUSION, CONFUSION_FIGURE, PREDICTIONS),
    ORACLE_CHANNELS,
)
"""What the tracker gets, as far as it is made."""
SCORES = ("dice", "precision", "recall")
"""Of each class, besides its IoU."""


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """What is measured, and how carefully.

    Attributes:
        batch_size: Images per forward pass; on a GPU a result can depend on it.
        boundary_width: Width of the bands of boundary IoU, as a fraction of the image's diagonal.
        small_object_area: Objects with less than this fraction of the image's pixels are small.
        latency_batch_size: Images per timed forward pass.
        latency_rounds: Timed forward passes of each network.
        latency_warmup: Untimed ones before; on a GPU at least as many as take a second.
        latency_clock: ``wall``, or ``cpu``: processor time on one thread.
        runtimes: Where networks are timed; ``auto``: in PyTorch, and on a CPU in ONNX Runtime if it is installed.
        hd95: Whether distances of borders are measured, which takes time.
        overlay_images: Report images in the prediction figure.
        tile: (h, w) in px of the tiles that images are shown in; None: whole.
        overlap: Fraction of a tile's side that the next one covers too, at least.
        flips: Whether every pass is repeated with the image mirrored.
        scales: Factors on the image's sides, one pass each.
        oracle: Whether and how the criterion's scores are compared with the loss changes they stand for.
    """

    batch_size: Annotated[int, Field(ge=1)]
    boundary_width: Annotated[float, Field(gt=0, lt=1)]
    small_object_area: Annotated[float, Field(gt=0, le=1)]
    latency_batch_size: Annotated[int, Field(ge=1)]
    latency_rounds: Annotated[int, Field(ge=1)]
    latency_warmup: Annotated[int, Field(ge=0)]
    latency_clock: Clock
    runtimes: Runtimes
    overlay_images: Annotated[int, Field(ge=0)]
    hd95: bool
    tile: tuple[PositiveInt, PositiveInt] | None
    overlap: Annotated[float, Field(ge=0, le=0.9)]
    flips: bool
    scales: Annotated[tuple[Annotated[float, Field(ge=0.1, le=4)], ...], Field(min_length=1)]
    oracle: OracleSettings

    @property
    def passes(self) -> Passes:
        """How images are shown to networks."""
        return Passes(tile=self.tile, overlap=self.overlap, flips=self.flips, scales=self.scales)


@dataclass(frozen=True, kw_only=True)
class Eval(Stage):
    """Measure the networks of the trail on the report split, side by side.

    Attributes:
        settings: What is measured, and how carefully.
    """

    settings: EvalSettings

    @property
    def only_measures(self) -> bool:
        """It is."""
        return True

    @property
    def keeps(self) -> tuple[str, ...]:
        """Its own, what networks predict, and loss changes."""
        return (self.word, QUALITY, ORACLE)

    def refuse(self, ctx: Context, start: Trail) -> None:
        """Check that the clock goes with the device, and that networks run in the runtimes that are asked for.

        Raises:
            ConfigError: Processor time was asked for on a GPU, or a runtime is not installed or cannot run them.
        """
        key, device = ctx.key_of(self, "settings"), ctx.hardware.device
        if self.settings.latency_clock == "cpu" and device.type != "cpu":
            raise ConfigError(
                f"{key}.latency_clock is cpu, but the device is {device}, whose work takes no processor time. Give "
                f"{key}.latency_clock=wall."
            )
        if self.settings.runtimes != "auto":
            net = start[-1].net if start else shell(ctx)
            refuse_runtimes(ctx, net, self.settings.runtimes, f"{key}.runtimes")

    def memory_keys(self, ctx: Context) -> tuple[str, ...]:
        """The sizes of the batches that it measures with."""
        oracle = ("oracle.batch_size", "oracle.copies") if self.settings.oracle.samples else ()
        key = ctx.key_of(self, "settings")
        return tuple(f"{key}.{name}" for name in ("batch_size", "latency_batch_size", *oracle))

    def images_shown(self, ctx: Context, networks: int) -> int:
        """The report images for each network and the reference beside them, and the passes that are timed."""
        timed = self.settings.latency_batch_size * (
            self.settings.latency_rounds + self.settings.latency_warmup
        )
        probed = self.settings.oracle.samples * self.settings.oracle.images
        return len(ctx.data.report) * (networks + 1) + 2 * timed + probed  # a dense structure and a cut one

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail unchanged; rows, report, tables and figures go to the store and the tracker.

        Raises:
            ConfigError: Nothing else was done in this run, and an oracle was asked for that there cannot be.
        """
        samples = self.settings.oracle.samples
        if samples and not ctx.store.computed and scored_of(trail) is None:
            refuse_no_cut(samples, ctx.key_of(self, "settings"))
        entry = ctx.store.get(self.word, self.key(ctx, trail), lambda folder: self._make(folder, ctx, trail))
        ctx.tracker.tags({f"stage.{self.word}": origin_of(entry)})
        for name in FILES:
            if (entry.folder / name).exists():
                ctx.tracker.file(entry.folder / name, self.word)
        ctx.tracker.tags({"macs_rule": MACS_RULE})
        rows = _as_of_this_run(ctx, entry, trail, self._accepted(ctx, trail))
        ctx.rows.extend(rows)
        ctx.tracker.metrics(headline(rows))
        if found := slower(rows[-1]):
            ctx.tracker.tags(
                {"slower_than_dense": ", ".join(f"{name} x{value:.2f}" for name, value in found.items())}
            )
        report = json.loads((entry.folder / REPORT).read_text(encoding="utf-8"))
        ctx.tracker.metrics({f"oracle/{name}": value for name, value in report.get("oracle", {}).items()})
        return trail

    def key(self, ctx: Context, trail: Trail) -> Fingerprint:
        """Fingerprint of the evaluation of this trail."""
        measured = {
            k: v for k, v in identity(self.settings).items() if k not in ("batch_size", "oracle", "runtimes")
        }
        oracle = self.settings.oracle
        inputs: dict[str, Any] = {
            "data": ctx.data.identity.report,
            "shown": [ctx.data.name, ctx.data.report_split, ctx.data.palette, ctx.seed],
            "frames": ctx.data.report_frames,
            "eval": measured,
            "quality": [ctx.store.choice(QUALITY, key) for key in self._quality_keys(ctx, trail).values()],
            "machine": _machine(ctx.hardware.device),
            "runtimes": versions(self.settings.runtimes, ctx.hardware.device),
            "trail": [(state.name, state.fingerprint) for state in trail],
            "asked": [
                (state.name, asked.budget, asked.scope, asked.ratio, asked.threshold)
                for state in trail
                if state.ancestry and state.ancestry.cuts and (asked := facts_at(ctx.facts, state))
            ],
            **({"dense": dict(row)} if is_orphan(trail[0]) and (row := dense_row(ctx, trail[0])) else {}),
        }
        scored = scored_of(trail) if oracle.samples else None
        if scored is None:
            return fingerprint_of(ctx, self.word, inputs, self, without=("stage.oracle", "loss"))
        changes = ctx.store.choice(ORACLE, key_of(oracle, ctx, scored))
        inputs["oracle"] = {**oracle.inputs(ctx.hardware.device), "changes": changes}
        return fingerprint_of(ctx, self.word, inputs, self)

    def _accepted(self, ctx: Context, trail: Trail) -> dict[str, frozenset[str]]:
        """Name of each network -> the stages of which results by other code were taken for its row."""
        keys = self._quality_keys(ctx, trail)
        measured = {name: ctx.store.accepted_for(QUALITY, key) for name, key in keys.items()}
        return {state.name: state.accepted | measured[state.name] for state in trail}

    def _quality_keys(self, ctx: Context, trail: Trail) -> dict[str, Fingerprint]:
        return quality_keys(ctx, trail, self._rules, self.settings.batch_size)

    @property
    def _rules(self) -> Rules:
        return Rules(
            boundary_width=self.settings.boundary_width,
            small_object_area=self.settings.small_object_area,
            hd95=self.settings.hd95,
        )

    def _make(self, folder: Path, ctx: Context, trail: Trail) -> None:
        timing = Timing(
            batch_size=self.settings.latency_batch_size,
            rounds=self.settings.latency_rounds,
            warmup=self.settings.latency_warmup,
            clock=self.settings.latency_clock,
        )
        quality = qualities(ctx, trail, self._rules, self.settings.batch_size)
        groups = groups_of(ctx, trail)
        rows = rows_of(
            ctx, trail, ctx.facts, groups, quality, footprints(ctx, trail, timing, self.settings.runtimes)
        )
        counts = {name: found.counts for name, found in quality.items()}
        scores = {name: segmentation_metrics(found) for name, found in counts.items()}
        iou = {name: found.iou for name, found in scores.items()}
        kept = channels_kept(trail[0], trail[-1], groups)
        report = evaluation_report(
            rows,
            classes=ctx.data.classes,
            by_class={
                "iou": iou,
                "boundary_iou": {name: boundary_iou(found.boundary).iou for name, found in quality.items()},
                **{
                    score: {name: getattr(found, score) for name, found in scores.items()} for score in SCORES
                },
            },
            layers={group.name: (group.size, kept[group.name]) for group in groups if kept},
            ancestor=_ancestor(ctx, trail[0]),
        )
        found = oracle_of_trail(self.settings.oracle, ctx, trail)
        if found is not None:
            report["oracle"] = found.metrics()
            found.channels.to_csv(folder / ORACLE_CHANNELS, index=False)
        _write_json(folder / ROWS, [to_record(row) for row in rows])
        _write_json(folder / REPORT, report)
        save_file({name: found.image_counts for name, found in quality.items()}, folder / IMAGE_COUNTS)
        per_class_table(ctx.data.classes, iou).to_csv(folder / PER_CLASS)
        scores_table(ctx.data.classes, scores).to_csv(folder / CLASS_SCORES, index=False)
        confusion_table(ctx.data.classes, counts).to_csv(folder / CONFUSION, index=False)
        ends = {name: counts[name] for name in dict.fromkeys((trail[0].name, trail[-1].name))}
        (folder / CONFUSION_FIGURE).write_bytes(png(confusion_figure(ctx.data.classes, ends)))
        if self.settings.overlay_images:
            self._draw(folder / PREDICTIONS, ctx, trail)

    def _draw(self, path: Path, ctx: Context, trail: Trail) -> None:
        shown = min(self.settings.overlay_images, len(ctx.data.report))
        chosen = np.linspace(0, len(ctx.data.report) - 1, shown, dtype=int).tolist()
        items = [ctx.data.report[index] for index in chosen]
        images = torch.stack([item.image for item in items])
        labels = [item.label for item in items]
        predictions: dict[str, Tensor] = {}
        for state in trail:
            with eval_mode(state.net), torch.inference_mode():
                logits = ctx.passes(state.net, images.to(ctx.hardware.device))
            predictions[state.name] = logits.argmax(1).cpu()
        figure = overlay(
            images,
            labels,
            predictions,
            palette=ctx.data.palette,
            ignore_index=ctx.data.ignore_index,
            classes=ctx.data.classes,
            is_stretched=ctx.data.bands is not None,
        )
        path.write_bytes(png(figure))


def _as_of_this_run(
    ctx: Context, entry: Entry, trail: Trail, accepted: Mapping[str, frozenset[str]]
) -> tuple[Row, ...]:
    """Stored rows, one per network of the trail; another run may have measured them under its own names."""
    records = json.loads((entry.folder / ROWS).read_text(encoding="utf-8"))
    facts = {state.name: facts_at(ctx.facts, state) for state in trail}
    return tuple(
        replace(
            row,
            run=ctx.facts.run,
            model=facts[row.stage].model,
            pruner=row.pruner and facts[row.stage].pruner,
            accepted=",".join(sorted(accepted[row.stage] | entry.accepted)) or None,
        )
        for row in map(from_record, records)
    )


def _ancestor(ctx: Context, first: NetState) -> dict[str, Any] | None:
    """What is known of a dense network that rows are compared with although it is not there."""
    past, row = first.ancestry, dense_row(ctx, first)
    if past is None or not is_orphan(first):
        return None
    miou = None if row is None else row.get("miou_percent")
    return {"stage": past.network, "fingerprint": past.fingerprint, "miou_percent": miou, "since": past.label}


def _machine(device: torch.device) -> dict[str, str]:
    """What a latency depends on besides the networks."""
    return {
        "device": str(device),
        "name": name_of(device) or platform.machine(),
        "host": platform.node(),
        "threads": str(torch.get_num_threads()),
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
