"""The one training loop: train and finetune are the same thing on different networks."""

import copy
import logging
import math
import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from segprune import stop
from segprune.dataset.contract import Batch, SegData
from segprune.dataset.loading import FitLoader
from segprune.dataset.weights import class_weights
from segprune.errors import TrainingError
from segprune.loss import segmentation_loss
from segprune.measure.miou import scores
from segprune.measure.quality import evaluate
from segprune.model.contract import SegmentationNet
from segprune.schedule.schedule import Schedule, autocast_dtype, learning_rate, make_optimizer
from segprune.seed import seeded

log = logging.getLogger(__name__)
PROGRESS = "progress.pt"


@dataclass(frozen=True)
class Epoch:
    """What one epoch did.

    Attributes:
        epoch: 0, 1, ...
        loss: Mean training loss over the epoch's batches.
        lr: Learning rate of its last step.
        select_miou_percent: mIoU on the select split after the epoch; None without such a split.
    """

    epoch: int
    loss: float
    lr: float
    select_miou_percent: float | None


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where training runs.

    Attributes:
        device: Torch device.
        workers: Processes that load data; 0 loads in the main process.
    """

    device: torch.device
    workers: int


def fit(
    net: SegmentationNet,
    data: SegData,
    schedule: Schedule,
    *,
    seed: int,
    hardware: Hardware,
    folder: Path,
    on_epoch: Callable[[Epoch], None],
) -> tuple[SegmentationNet, tuple[Epoch, ...]]:
    """Train a copy of the network; returns the network that counts and the learning curve.

    With ``schedule.keep`` = ``best`` and a select split, the epoch with the highest select mIoU counts (the
    first of equals), else the last. After every epoch the whole state goes to ``folder``; a call that finds it
    there reports the epochs done and continues after them, to the same result, since every epoch's order,
    augmentation and dropout depend on (seed, epoch) alone. The caller removes ``PROGRESS`` from the folder once
    the result is safe.

    Raises:
        TrainingError: The loss is not finite; says at which epoch and step.
    """
    net = copy.deepcopy(net).to(hardware.device).to(memory_format=torch.channels_last)
    if schedule.epochs == 0:
        return net, ()
    loader = FitLoader(data.fit, batch_size=schedule.batch_size, seed=seed, workers=hardware.workers)
    step = _Step(net, data, schedule, hardware.device, len(loader))
    state = _Progress(folder / PROGRESS, net, step)
    for done in state.curve:
        on_epoch(done)
    for epoch in range(state.next_epoch, schedule.epochs):
        with seeded(seed, "epoch", epoch, device=hardware.device):
            batches = tqdm(
                loader.epoch(epoch),
                f"epoch {epoch + 1}/{schedule.epochs}",
                len(loader),
                leave=False,
                disable=None,
            )
            loss = step.epoch(batches, epoch)
        done = Epoch(epoch, loss, step.lr, _select_miou_percent(net, data, schedule.batch_size, hardware))
        state.advance(done, keep_best=schedule.keep == "best" and data.select is not None)
        log.info("%s", _line(done, schedule.epochs))
        on_epoch(done)
    net.load_state_dict(state.kept)
    return net.eval(), tuple(state.curve)


class _Step:
    """Forward, backward and update, with everything they need."""

    def __init__(
        self, net: SegmentationNet, data: SegData, schedule: Schedule, device: torch.device, steps: int
    ) -> None:
        weights = class_weights(
            data.calibration,
            num_classes=len(data.classes),
            ignore_index=data.ignore_index,
            mode=schedule.class_weights,
        )
        self.net, self.schedule, self.device, self.steps = net, schedule, device, steps
        self.loss = segmentation_loss(
            ignore_index=data.ignore_index,
            class_weights=None if schedule.class_weights == "none" else weights.to(device),
            aux_weight=schedule.aux_weight,
        )
        self.optimizer = make_optimizer(schedule, net)
        self.amp = autocast_dtype(schedule, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp == torch.float16)
        self.lr = 0.0

    def epoch(self, batches: Iterable[Batch], epoch: int) -> float:
        self.net.train()
        total, accumulate = 0.0, self.schedule.accumulate
        updates = math.ceil(self.steps / accumulate)
        for index, batch in enumerate(batches):
            stop.if_asked()
            self.lr = learning_rate(self.schedule, epoch * updates + index // accumulate, updates)
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr
            window = min(accumulate, self.steps - index // accumulate * accumulate)
            loss = self._backward(batch, window)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the training loss is {loss} at epoch {epoch + 1}, step {index + 1} of {self.steps} "
                    f"(lr {self.lr:.3g}). Lower the learning rate, lengthen the warm-up, or set grad_clip."
                )
            total += loss
            if (index + 1) % accumulate == 0 or index + 1 == self.steps:
                self._update()
        return total / self.steps

    def _backward(self, batch: Batch, window: int) -> float:
        """Add the gradients of one of the ``window`` batches that share an update; gives its loss."""
        image = batch.image.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        label = batch.label.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
            loss: Tensor = self.loss(self.net.all_logits(image), label)
        torch.autograd.backward(self.scaler.scale(loss / window))
        return float(loss.detach())

    def _update(self) -> None:
        if self.schedule.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.net.parameters(), self.schedule.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


class _Progress:
    """The state after the last finished epoch, on disk; torch's format, read with ``weights_only``."""

    def __init__(self, path: Path, net: SegmentationNet, step: _Step) -> None:
        self.path, self.net, self.step = path, net, step
        self.curve: list[Epoch] = []
        self.kept: dict[str, Tensor] = {}
        saved = self._read()
        if saved is not None:
            net.load_state_dict(saved["net"])
            step.optimizer.load_state_dict(saved["optimizer"])
            step.scaler.load_state_dict(saved["scaler"])
            self.curve, self.kept = [Epoch(**epoch) for epoch in saved["curve"]], saved["kept"]
            log.info("continuing after epoch %d", self.next_epoch)

    def _read(self) -> dict[str, Any] | None:
        """What was saved; None when there is nothing, or nothing readable, so that training starts anew."""
        if not self.path.exists():
            return None
        try:
            saved: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            log.warning(
                "%s is damaged (%s); this training starts again", self.path, str(error).split("\n")[0]
            )
            return None
        return saved

    @property
    def next_epoch(self) -> int:
        return len(self.curve)

    def advance(self, done: Epoch, *, keep_best: bool) -> None:
        earlier = [epoch.select_miou_percent or 0.0 for epoch in self.curve]
        if not keep_best or (done.select_miou_percent or 0.0) > max(earlier, default=-1.0):
            self.kept = {name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()}
        self.curve.append(done)
        state: dict[str, Any] = {
            "net": self.net.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "curve": [asdict(epoch) for epoch in self.curve],
            "kept": self.kept,
        }
        unfinished = self.path.with_suffix(".tmp")
        torch.save(state, unfinished)
        os.replace(unfinished, self.path)


def _select_miou_percent(
    net: SegmentationNet, data: SegData, batch_size: int, hardware: Hardware
) -> float | None:
    if data.select is None:
        return None
    counts = evaluate(
        net,
        data.select,
        num_classes=len(data.classes),
        ignore_index=data.ignore_index,
        batch_size=batch_size,
        workers=hardware.workers,
        device=hardware.device,
    )
    return 100 * scores(counts).miou


def _line(done: Epoch, epochs: int) -> str:
    select = "" if done.select_miou_percent is None else f"  select mIoU {done.select_miou_percent:5.2f} %"
    return f"epoch {done.epoch + 1:>3}/{epochs}  loss {done.loss:.4f}  lr {done.lr:.2e}{select}"
