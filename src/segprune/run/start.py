"""Where a chain starts: what its stages are given, and the checkpoint it goes on from."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from segprune.checkpoint import checkpoint
from segprune.config.compose import Settings
from segprune.dataset.contract import SegData
from segprune.errors import CheckpointError, ConfigError, DataError
from segprune.model.backbone_weights import weights_to_come
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import TrainedPruner
from segprune.run.assemble import Run
from segprune.seed import seeded
from segprune.shortage import shortage
from segprune.stage.contract import Context, NetState, Stage, Trail
from segprune.stage.fit import Fit
from segprune.stage.prune import Prune
from segprune.store.store import Store, fingerprint
from segprune.tracking.contract import Tracker
from segprune.training.step import Hardware


def context_of(run: Run, data: SegData, hardware: Hardware, store: Store, tracker: Tracker) -> Context:
    """What the stages of a run are given."""
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


def start_of_trail(settings: Settings, ctx: Context) -> Trail:
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
    net, transforms, about = checkpoint.read(folder, ctx.build)
    key = fingerprint("checkpoint", {"weights": about["weights_sha256"], "about": ctx.about})
    ctx.tracker.tags({"checkpoint": str(folder)})
    name, net = "start" if transforms else "dense", net.to(ctx.hardware.device).eval()
    return (NetState(name=name, net=net, transforms=transforms, fingerprint=key, folder=folder),)


def refuse_unfit(stages: Sequence[Stage], ctx: Context) -> None:
    """Check before anything is trained that every batch can be filled, and that the network runs on the images.

    Raises:
        DataError: A batch is larger than the training set.
        ConfigError: The network cannot run on images of these sizes, or not in training on so few at a time.
    """
    images, sizes = len(ctx.data.fit), _batch_sizes(stages)
    for key, size in sizes.items():
        if size > images:
            raise DataError(
                f"{key} is {size}, but the training images are only {images}; give {key}={images} or less, or more "
                "images."
            )
    alone = [f"{key} is 1" for key, size in sizes.items() if size == 1]
    if images == 1 and any(isinstance(stage, Prune) for stage in stages):
        alone.append("there is one image to calibrate on")
    crop_hw = list(ctx.data.fit[0].image.shape[-2:])
    larger = "give larger images, or a network of fewer levels"
    _try(ctx, ctx.data.size_hw, f"dataset.size_hw is {list(ctx.data.size_hw)}", larger)
    if crop_hw != list(ctx.data.size_hw):
        _try(ctx, crop_hw, f"training images have {crop_hw} px", larger)
    if alone:
        remedy = "give 2 or more" if images > 1 else "give the dataset more training images"
        _try(ctx, crop_hw, alone[0], remedy, is_training=True)


def _batch_sizes(stages: Sequence[Stage]) -> dict[str, int]:
    """Key -> images in a batch, of every training that will be."""
    schedules = {f"{stage.word}.batch_size": stage.schedule for stage in stages if isinstance(stage, Fit)}
    for stage in stages:
        if isinstance(stage, Prune) and isinstance(stage.pruner, TrainedPruner):
            schedules["pruner.phase.schedule.batch_size"] = stage.pruner.phase.schedule
        elif isinstance(stage, Prune) and stage.rounds > 1:
            schedules["between.batch_size"] = stage.between
    return {key: schedule.batch_size for key, schedule in schedules.items() if schedule.epochs > 0}


def _try(ctx: Context, size_hw: Sequence[int], what: str, remedy: str, *, is_training: bool = False) -> None:
    """Run the dense network once, on one image."""
    net = _shell(ctx).train(is_training)
    image = torch.zeros(1, 3, *size_hw, device=ctx.hardware.device)
    try:
        with torch.no_grad(), seeded(ctx.seed, "try", device=ctx.hardware.device):
            net.all_logits(image)
    except (RuntimeError, ValueError) as error:
        if shortage(error, lambda _: None):
            raise
        how = "be trained" if is_training else "run"
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{what}, on which the network cannot {how} ({reason}); {remedy}.") from error


def refuse_unreachable(stages: Sequence[Stage], ctx: Context, start: Trail) -> None:
    """Check before anything is trained that the cut of the network it will be made of can be made.

    Raises:
        BudgetError: The budget is out of reach.
        ConfigError: The criterion cannot run on this network.
    """
    for stage in stages:
        if isinstance(stage, Prune):
            net = start[-1].net if start else _shell(ctx)
            stage.refuse_unreachable(net, ctx.data.size_hw)


def _shell(ctx: Context) -> SegmentationNet:
    """The dense network as to its shapes; its weights do not matter."""
    with weights_to_come():
        return ctx.build().to(ctx.hardware.device)


def _digests(node: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of every file that a value of the node names, such as pretrained weights."""
    files = {
        key: Path(value) for key, value in node.items() if isinstance(value, str) and Path(value).is_file()
    }
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}
