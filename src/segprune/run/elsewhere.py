"""A chain that starts from weights which were trained elsewhere."""

import hashlib
import logging
from dataclasses import replace

import torch
from torch import nn
from torch.utils.data import Subset

from segprune.config.compose import Settings
from segprune.measure.evaluate import evaluate
from segprune.measure.miou import segmentation_metrics
from segprune.model.copies import ready
from segprune.run.ancestry import UNKNOWN, root
from segprune.stage.contract import Context
from segprune.stage.state import NetState, Trail
from segprune.store.code import code_of
from segprune.store.fingerprint import fingerprint

log = logging.getLogger(__name__)
LOOKED_AT = 32
"""Training images that tell whether weights, classes and normalisation go together."""


def from_elsewhere(settings: Settings, ctx: Context) -> Trail:
    """The network with the weights of ``model.checkpoint``; nothing where there are none, or ``train`` makes it.

    Raises:
        CheckpointError: The file does not fit.
    """
    file = settings.model.get("checkpoint")
    if file is None or "train" in settings.stages:
        return ()
    ctx.tracker.tags({"checkpoint": str(file)})
    net = ready(ctx.build(), ctx.hardware.device)
    # the seed draws what the file may lack, and changes nothing where it lacks nothing
    key = fingerprint("checkpoint", {"about": ctx.about, "weights": _digest(net), **code_of(ctx.sources)})
    log.info(
        "the weights of %s were trained elsewhere: their row is `%s`, and everything is compared with it",
        file,
        UNKNOWN,
    )
    state = NetState(name=UNKNOWN, net=net, transforms=(), fingerprint=key)
    return (replace(state, ancestry=root(state)),)


def _digest(net: nn.Module) -> str:
    """SHA-256 of a network's tensors and of their names."""
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tell_quality(ctx: Context, start: Trail) -> None:
    """Say how good weights from elsewhere are on some training images, and if that is no better than guessing.

    Args:
        ctx: The run.
        start: The networks that the chain starts from; those of this program say it by themselves.
    """
    if not start or start[-1].name != UNKNOWN or start[-1].folder is not None:
        return
    images = min(LOOKED_AT, len(ctx.data.calibration))
    counts = evaluate(
        start[-1].module,
        Subset(ctx.data.calibration, range(images)),  # type: ignore[arg-type]
        num_classes=len(ctx.data.classes),
        ignore_index=ctx.data.ignore_index,
        batch_size=1,
        workers=0,
        device=ctx.hardware.device,
        passes=ctx.passes,
    )
    found = 100 * segmentation_metrics(counts).miou
    log.info("model.checkpoint: mIoU %.1f on %d training images", found, images)
    guessed = 100 / len(ctx.data.classes)
    if found <= guessed:
        log.warning(
            "that is no better than guessing (at most %.1f): see whether the classes have the order of the "
            "dataset, whether model.mean and model.std are those of the training, and whether the file is "
            "of this network",
            guessed,
        )
