"""Description of a run for the tracker, besides its measurements."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from segprune.checkpoint import checkpoint
from segprune.checkpoint.contract import ANCESTRY, DESCRIPTION, WEIGHTS
from segprune.config.protocol import CHAIN
from segprune.dataset.contract import SegData
from segprune.dataset.summary import as_text
from segprune.result.overlay import blended
from segprune.run.assemble import Run
from segprune.stage.contract import Context
from segprune.stage.facts import whole
from segprune.stage.state import Trail
from segprune.tracking.color import color
from segprune.tracking.contract import RunStart, Scalar, Tracker

log = logging.getLogger(__name__)

SHOWN = 8
"""Training images in the picture of images and masks."""
NAMED = ("dataset", "model", "loss", "train", "pruner", "budget", "finetune", "distill", "eval", "protocol")
UNTRACKED = ("tracking", "paths", "store", "stage", "extensions", "threads", "workers", "log_checkpoint")
"""Where a run is kept and how fast it goes does not describe it."""
PHASE = {"phase_epochs"}
"""What the options of ``pruner`` refer to."""


def cut_before(run: Run) -> dict[str, Scalar]:
    """Pruner, budget and ratio of a run that goes on from a cut network: of all its cuts together."""
    cuts = run.past.cuts if run.past else []
    if not cuts:
        return {}
    facts = run.facts
    own = facts.cause
    cut = whole([*cuts, *([own] if "prune" in run.settings.stages else [])])
    return {"pruner": cut.pruner, "budget": cut.budget, "ratio": cut.ratio}


def run_start(run: Run, parent_run_id: str | None) -> RunStart:
    """How the tracked run is opened.

    Args:
        run: The run.
        parent_run_id: The tracked sweep it belongs to; None for a single run.
    """
    return RunStart(
        name=run.name,
        kind="job",
        folder=run.job.folder,
        tags={"output_dir": str(run.job.folder), "hydra.overrides": " ".join(run.job.overrides)},
        color=_color(run),
        parent_run_id=parent_run_id,
    )


def describe(tracker: Tracker, run: Run, data: SegData) -> None:
    """Log what was configured, the whole configuration, and which data is used as what."""
    unused = unused_keys(run)
    described = {key: value for key, value in run.values.items() if key not in {*UNTRACKED, *unused}}
    own = {word: run.settings.stage[word] for word in run.settings.stages if word not in CHAIN}
    described |= {"stage": own} if own else {}
    names: dict[str, Scalar] = {
        f"{group}.name": run.job.choices[group] for group in NAMED if group not in unused
    }
    names |= {key if key == "ratio" else f"{key}.name": value for key, value in cut_before(run).items()}
    tracker.params(_flat(described) | names)
    whole = {key: value for key, value in run.values.items() if key != "tracking"}  # it may hold a password
    tracker.text(OmegaConf.to_yaml(OmegaConf.create(whole)), "config/config.yaml")
    tracker.text("\n".join(run.job.overrides), "config/overrides.txt")
    size = "x".join(map(str, data.size_hw))
    splits = (("train", data.fit, data.identity.fit), (data.report_split, data.report, data.identity.report))
    for split, items, digest in splits:
        profile: dict[str, Scalar] = {"items": len(items), "classes": len(data.classes), "size_hw": size}
        tracker.dataset(name=data.name, digest=digest, split=split, profile=profile)


def describe_data(tracker: Tracker, data: SegData) -> None:
    """Say what the files of the dataset hold, with a picture of images and masks: people check masks by looking."""
    if not data.summary:  # nothing was read from files
        return
    text = as_text(data.summary, data.classes)
    log.info("%s", "\n".join(text.splitlines()[: len(data.summary)]))
    tracker.text(text, "data/summary.txt")
    tracker.text(data.files, "data/pairs.csv")
    shown = min(SHOWN, len(data.calibration))
    chosen = [index * len(data.calibration) // shown for index in range(shown)]
    items = [data.calibration[index] for index in chosen]
    figure = blended(
        items,
        palette=data.palette,
        ignore_index=data.ignore_index,
        classes=data.classes,
        is_stretched=data.bands is not None,
    )
    tracker.figure(figure, "data/masks.png")


def unused_keys(run: Run) -> set[str]:
    """The root keys that only left-out stages use, so that nobody reads a ratio beside a dense network."""
    used: dict[bool, set[str]] = {True: set(), False: set()}
    for place, key in run.keys.items():
        used[place.split(".")[1] in run.settings.stages].add(key)
    alone = {key for key in used[False] - used[True] if "." not in key}
    return alone | (PHASE if "pruner" in alone else set())


def describe_result(ctx: Context, trail: Trail, *, with_weights: bool) -> None:
    """Say which networks the run is about and what it took of other code, and log the last one's checkpoint."""
    ctx.tracker.tags({"baseline": trail[0].fingerprint, "fingerprint": trail[-1].fingerprint})
    if ctx.store.accepted:
        ctx.tracker.tags({"accepted": ",".join(ctx.store.accepted)})
    folder = trail[-1].folder
    if with_weights and folder is not None:
        for name in (WEIGHTS, ANCESTRY):
            if (folder / name).exists():  # a runner has a file of its own kind, and not every past is known
                ctx.tracker.file(folder / name, "checkpoint")
        if (folder / DESCRIPTION).exists():
            about = {**checkpoint.describe(folder), **checkpoint.prediction(ctx.data, ctx.passes)}
            ctx.tracker.text(json.dumps(about, indent=1), f"checkpoint/{DESCRIPTION}")


def _color(run: Run) -> str:
    before = cut_before(run)
    if "prune" not in run.settings.stages and not before:
        return color("dense", 0.0)
    ratio = before.get("ratio", run.settings.ratio)
    return color(str(before.get("pruner", run.job.choices["pruner"])), float(ratio or 0.0))


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested mappings as dotted names; lists as text."""
    flat: dict[str, Scalar] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value) if isinstance(value, list) else value
    return flat
