"""One run from its configuration to its table; the page to read first."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from segprune import checkpoint
from segprune.chain import run_chain
from segprune.compose import Job, Settings, component, job_of_this_process, settings_of, target
from segprune.dataset.contract import SegData
from segprune.errors import CheckpointError, ConfigError
from segprune.fit import Hardware
from segprune.model.contract import SegmentationNet
from segprune.report.row import Row, to_record
from segprune.report.table import chain_table
from segprune.seed import seeded
from segprune.stage.contract import Context, NetState, Stage, Trail, source_digest
from segprune.stage.eval import Eval, RowFacts
from segprune.stage.fit import Fit
from segprune.stage.prune import Prune
from segprune.store import Store, fingerprint
from segprune.tracking.color import color
from segprune.tracking.contract import RunStart, Scalar, Status, Tracker, Tracking

log = logging.getLogger(__name__)
NAMED = ("dataset", "model", "train", "pruner", "budget", "finetune", "eval")
STAGE_KEYS = {
    "train": ("train",),
    "prune": ("pruner", "budget", "ratio", "calibration"),
    "finetune": ("finetune",),
    "eval": ("eval",),
}
"""What a run without the stage does not have, so that nobody reads a ratio beside a dense network."""
UNTRACKED = ("tracking", "paths", "store", "extensions", "threads", "workers", "log_checkpoint")
"""Where a run is kept and how fast it goes does not describe it."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run whose every argument was checked; nothing has been read, built or tracked yet.

    Attributes:
        name: Shown in the runs table.
        job: What Hydra knows about it.
        settings: The checked root of its configuration.
        values: The whole configuration as plain values.
        stages: In order.
        build: Number of classes -> dense network.
        model_source: Digest of the code that builds it.
        load_data: Reads and checks the dataset.
        tracking: Where it is tracked.
    """

    name: str
    job: Job
    settings: Settings
    values: Mapping[str, Any]
    stages: Sequence[Stage]
    build: Callable[[int], SegmentationNet]
    model_source: str
    load_data: Callable[[], SegData]
    tracking: Tracking


def checked(cfg: DictConfig) -> Run:
    """The run of a composed configuration.

    Raises:
        ConfigError: A key is unknown, missing or out of its range.
        CheckpointError: The checkpoint to start from is none, or of another model.
    """
    job = job_of_this_process()
    settings, values = settings_of(cfg)
    _refuse_foreign_checkpoint(settings)
    name = run_name(settings, job)
    return Run(
        name=name,
        job=job,
        settings=settings,
        values=values,
        stages=stages_of(settings, job, name),
        build=network_builder(settings),
        model_source=source_digest(target(settings.model, "model", settings.extensions)),
        load_data=component(settings.dataset, "dataset", extensions=settings.extensions),
        tracking=component(settings.tracking, "tracking", extensions=settings.extensions)(),
    )


def run_job(cfg: DictConfig, parent_run_id: str | None) -> dict[str, Any]:
    """Run one chain and return its summary: name, seconds, whether all was reused, and rows.

    Args:
        cfg: The composed configuration.
        parent_run_id: The tracked sweep this run belongs to; None for a single run.

    Raises:
        SegpruneError: Anything that is the user's to mend, before work starts wherever it can be known then.
    """
    started = time.perf_counter()
    run = checked(cfg)
    hardware, data = hardware_of(run.settings), run.load_data()
    store = Store(root=run.settings.store.root, reuse=run.settings.store.reuse)
    tracker = run.tracking.open(_start(run, parent_run_id))
    status: Status = "FAILED"
    try:
        _describe(tracker, run, data)
        ctx = _context(run, data, hardware, store, tracker)
        start = _start_of_trail(run.settings, ctx)
        if not start:
            _refuse_unreachable(run.stages, ctx)
        trail = run_chain(run.stages, ctx, start)
        _keep(tracker, trail, with_weights=run.settings.log_checkpoint)
        rows = _rows(run.stages, ctx, trail)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    records, seconds = [to_record(row) for row in rows], round(time.perf_counter() - started, 1)
    (run.job.folder / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if rows:
        log.info("\n%s", chain_table(rows))
    log.info("%s: done in %.0f s; log and rows in %s", run.name, seconds, run.job.folder)
    if tracker.url_hint:
        log.info("%s", tracker.url_hint)
    return {"name": run.name, "seconds": seconds, "was_reused": not store.computed, "rows": records}


def run_name(settings: Settings, job: Job) -> str:
    """``<pruner>-r<ratio>-s<seed>``, or ``dense-s<seed>`` for a chain that does not prune."""
    if "prune" not in settings.stages:
        return f"dense-s{settings.seed}"
    return f"{job.choices['pruner']}-r{settings.ratio:g}-s{settings.seed}"


def stages_of(settings: Settings, job: Job, name: str) -> list[Stage]:
    """The configured stages, every argument checked."""

    def part(key: str, *runtime: str) -> Callable[..., Any]:
        return component(getattr(settings, key), key, extensions=settings.extensions, runtime=runtime)

    train, pruner, budget = part("train")(), part("pruner")(), part("budget")()
    facts = RowFacts(
        run=name,
        model=job.choices["model"],
        pruner=job.choices["pruner"],
        budget=budget.of,
        scope=budget.ranking(pruner.scope),
        ratio=settings.ratio,
    )
    stages: dict[str, Stage] = {
        "train": Fit(word="train", makes="dense", schedule=train),
        "prune": Prune(
            pruner=pruner,
            budget=budget,
            ratio=settings.ratio,
            calibration=part("calibration")(),
            aux_weight=train.aux_weight,
        ),
        "finetune": Fit(word="finetune", makes="finetuned", schedule=part("finetune")()),
        "eval": part("eval", "facts", "word")(facts=facts),
    }
    return [stages[word] for word in settings.stages]


def network_builder(settings: Settings) -> Callable[[int], SegmentationNet]:
    """Number of classes -> the dense network with its seeded initial weights."""
    make = component(settings.model, "model", extensions=settings.extensions, runtime=("num_classes",))

    def build(num_classes: int) -> SegmentationNet:
        with seeded(settings.seed, "model"):
            net: SegmentationNet = make(num_classes=num_classes)
        return net

    return build


def hardware_of(settings: Settings) -> Hardware:
    """The device, with torch's threads set.

    Raises:
        ConfigError: The device does not exist here.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    wanted = settings.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"segprune does not run on {device.type}")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device is {settings.device!r}, which cannot be used here: {reason}. Allowed are auto, cpu, and cuda "
            "or cuda:<n> on a machine with such a GPU and a CUDA build of torch."
        ) from error
    return Hardware(device=device, workers=settings.workers)


def _start(run: Run, parent_run_id: str | None) -> RunStart:
    return RunStart(
        name=run.name,
        kind="job",
        folder=run.job.folder,
        tags={"output_dir": str(run.job.folder), "hydra.overrides": " ".join(run.job.overrides)},
        color=_color(run),
        parent_run_id=parent_run_id,
    )


def _color(run: Run) -> str:
    if "prune" not in run.settings.stages:
        return color("dense", 0.0)
    return color(run.job.choices["pruner"], run.settings.ratio)


def _context(run: Run, data: SegData, hardware: Hardware, store: Store, tracker: Tracker) -> Context:
    about = {
        "model": run.settings.model,
        "model_files": _digests(run.settings.model),
        "model_source": run.model_source,
        "classes": list(data.classes),
        "dataset": data.name,
    }
    return Context(
        data=data,
        build=lambda: run.build(len(data.classes)),
        about=about,
        seed=run.settings.seed,
        hardware=hardware,
        store=store,
        tracker=tracker,
    )


def _describe(tracker: Tracker, run: Run, data: SegData) -> None:
    unused = {key for stage, keys in STAGE_KEYS.items() if stage not in run.settings.stages for key in keys}
    described = {key: value for key, value in run.values.items() if key not in {*UNTRACKED, *unused}}
    names = {f"{group}.name": run.job.choices[group] for group in NAMED if group not in unused}
    tracker.params(_flat(described) | names)
    whole = {key: value for key, value in run.values.items() if key != "tracking"}  # it may hold a password
    tracker.text(OmegaConf.to_yaml(OmegaConf.create(whole)), "config/config.yaml")
    tracker.text("\n".join(run.job.overrides), "config/overrides.txt")
    size = "x".join(map(str, data.size_hw))
    splits = (("train", data.fit, data.identity.fit), (data.report_split, data.report, data.identity.report))
    for split, items, digest in splits:
        profile: dict[str, Scalar] = {"items": len(items), "classes": len(data.classes), "size_hw": size}
        tracker.dataset(name=data.name, digest=digest, split=split, profile=profile)


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested mappings as dotted names; lists as text."""
    flat: dict[str, Scalar] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value) if isinstance(value, list) else value
    return flat


def _digests(node: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of every file that a value of the node names, such as pretrained weights."""
    files = {
        key: Path(value) for key, value in node.items() if isinstance(value, str) and Path(value).is_file()
    }
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}


def _start_of_trail(settings: Settings, ctx: Context) -> Trail:
    """Nothing, or the network of the checkpoint the chain starts from.

    Raises:
        CheckpointError: It is damaged, or was made for other classes.
    """
    folder = settings.checkpoint
    if folder is None:
        return ()
    classes = checkpoint.describe(folder).get("classes")
    if classes != ctx.about["classes"]:
        raise CheckpointError(
            f"{folder} was made for the classes {classes}, the dataset has {ctx.about['classes']}. Choose the "
            "dataset that the checkpoint was made with."
        )
    net, plans, about = checkpoint.read(folder, ctx.build)
    key = fingerprint("checkpoint", {"weights": about["weights_sha256"], "about": ctx.about})
    ctx.tracker.tags({"checkpoint": str(folder)})
    name, net = "start" if plans else "dense", net.to(ctx.hardware.device).eval()
    return (NetState(name=name, net=net, plans=plans, fingerprint=key, folder=folder),)


def _refuse_foreign_checkpoint(settings: Settings) -> None:
    """Compare a checkpoint with the configured model before anything is loaded.

    Raises:
        CheckpointError: It is no checkpoint, or of another model.
    """
    if settings.checkpoint is None:
        return
    made = checkpoint.describe(settings.checkpoint).get("model", {})
    wrong = [
        f"model.{key} is {settings.model.get(key)!r}, the checkpoint was made with {made.get(key)!r}"
        for key in sorted({*settings.model, *made} - {"weights"})
        if settings.model.get(key) != made.get(key)
    ]
    if wrong:
        raise CheckpointError(
            f"{settings.checkpoint} holds another network: {'; '.join(wrong)}. Give the model it was made with."
        )


def _refuse_unreachable(stages: Sequence[Stage], ctx: Context) -> None:
    for stage in stages:
        if isinstance(stage, Prune):
            stage.refuse_unreachable(ctx)


def _keep(tracker: Tracker, trail: Trail, *, with_weights: bool) -> None:
    """Say which networks the run is about, and log the last one's checkpoint."""
    tracker.tags({"baseline": trail[0].fingerprint, "fingerprint": trail[-1].fingerprint})
    folder = trail[-1].folder
    if with_weights and folder is not None:
        for name in (checkpoint.DESCRIPTION, checkpoint.WEIGHTS):
            tracker.file(folder / name, "checkpoint")


def _rows(stages: Sequence[Stage], ctx: Context, trail: Trail) -> tuple[Row, ...]:
    return next((stage.rows(ctx, trail) for stage in stages if isinstance(stage, Eval)), ())
