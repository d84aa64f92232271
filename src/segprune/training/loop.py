"""The one training loop: train and finetune are the same thing on different networks."""

import logging
import pickle
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from segprune import durable
from segprune.dataset.contract import Batch
from segprune.dataset.loading import FitLoader
from segprune.errors import TrainingError
from segprune.measure.evaluate import evaluate
from segprune.measure.miou import segmentation_metrics
from segprune.model.contract import SegmentationNet
from segprune.model.copies import channels_last, duplicate
from segprune.seed import seeded
from segprune.shortage import shortage
from segprune.training.apart import Apart, apart
from segprune.training.cudnn import one_size
from segprune.training.rank import Rank
from segprune.training.recompute import recomputed
from segprune.training.shared_norm import share_norms
from segprune.training.step import Epoch, Step, Training
from segprune.training.together import Tell, together
from segprune.training.waiting import Waits

log = logging.getLogger(__name__)
PROGRESS = "progress.pt"
FORMAT = 2
"""Raised when the content of that file changes."""
StepT = TypeVar("StepT", bound=Step)


def fit(
    net: SegmentationNet,
    training: Training,
    make_step: Callable[[SegmentationNet, Training, int], StepT],
) -> tuple[SegmentationNet, tuple[Epoch, ...], StepT]:
    """Train a copy of the network; returns the network of the kept epoch, the learning curve and the step.

    With ``schedule.keep`` = ``best`` and a select split, the epoch with the highest select mIoU is kept (the
    first of equals), else the last. After every epoch the whole state goes to ``folder``; a call that finds it
    there reports those epochs and continues after them. The result is the same as without a break, since order,
    augmentation and dropout of an epoch depend on (seed, epoch) alone. The store removes ``PROGRESS`` from
    the folder once the result is safe.

    On several GPUs, one new process for each trains on an equal part of every batch, and leaves there what this one
    then finds done. The result is that of one process but for rounding and dropout; see ``Rank.gathered``.

    Args:
        net: The network; left as it was.
        training: Everything else; its schedule has at least one epoch.
        make_step: The copy, the training and the batches in an epoch -> the step; what it draws is seeded. ``Step``
            itself is plain training.

    Raises:
        TrainingError: The loss is not finite; says at which epoch and step. Or a process on one of the GPUs died.
    """
    data, schedule, hardware, rank = training.data, training.schedule, training.hardware, training.rank
    is_shared = hardware.gpus > 1 and rank.world == 1
    if is_shared:
        _fit_together(net, training, make_step)
        training = replace(training, on_epoch=_unheard)
    net = channels_last(duplicate(net).to(hardware.device))
    loader = FitLoader(
        data.fit,
        batch_size=schedule.batch_size,
        seed=training.seed,
        workers=hardware.workers,
        pin_memory=hardware.device.type == "cuda",
        part=rank.part(schedule.batch_size),
    )
    with seeded(training.seed, "step", device=hardware.device):
        step = make_step(net, training, len(loader))
    share_norms(net, rank, hardware.device)
    waits = Waits()
    state = _Progress(training.folder / PROGRESS, net, step)
    if state.next_epoch and not is_shared:
        log.info("continuing after epoch %d", state.next_epoch)
    for done in state.curve:
        training.on_epoch(done)
    if is_shared and state.next_epoch < schedule.epochs:
        raise TrainingError(
            f"{state.path} cannot be read after the training on {hardware.gpus} GPUs; repeat it"
        )
    for epoch in range(state.next_epoch, schedule.epochs):
        loss = _updated(net, step, waits(loader.epoch(epoch)), training, epoch)
        select = _select_miou_percent(net, training)
        facts = {"overflows": step.overflows} if step.scaler.is_enabled() else {}
        done = Epoch(epoch, loss, step.lr, select, {**facts, **step.scale_facts(), **step.facts()})
        state.advance(done, keep_best=schedule.keep == "best" and data.select is not None)
        if rank.is_first:
            state.write()
        log.info("%s", _line(done, schedule.epochs))
        training.on_epoch(done)
    if told := waits.told(data, hardware.workers):
        log.warning("%s", told)
    net.load_state_dict(state.kept)
    return net.eval(), tuple(state.curve), step


def _updated(
    net: SegmentationNet, step: Step, batches: Iterable[Batch], training: Training, epoch: int
) -> float:
    """Train on the batches of an epoch; gives their mean loss."""
    schedule, device, rank = training.schedule, training.hardware.device, training.rank
    if rank.world == 1:  # else another process writes the lines
        about = f"epoch {epoch + 1}/{schedule.epochs}"
        batches = tqdm(batches, about, step.steps, leave=False, disable=None)
    recompute = recomputed(net) if schedule.checkpointing else nullcontext()
    with seeded(training.seed, "epoch", epoch, *rank.name, device=device), one_size(device), recompute:
        return step.epoch(batches, epoch)


def _fit_together(net: SegmentationNet, training: Training, make_step: Callable[..., Step]) -> None:
    """One process per GPU trains its part and leaves all in the training's folder."""
    hardware = training.hardware
    workers = -(-hardware.workers // hardware.gpus)
    alone = replace(training, hardware=replace(hardware, workers=workers), on_epoch=_unheard)
    work = partial(_fit_part, apart(net), alone, make_step)
    if hardware.device.type == "cuda":
        torch.cuda.empty_cache()  # one of them is on this GPU too
    together(hardware.gpus, hardware.device, work, training.on_epoch)


def _fit_part(
    net: Apart[SegmentationNet], training: Training, make_step: Callable[..., Step], rank: Rank, tell: Tell
) -> None:
    device = training.hardware.device
    mine = torch.device("cuda", rank.rank) if device.type == "cuda" else device
    hardware = replace(training.hardware, device=mine)
    on_epoch = tell if rank.is_first else _unheard
    fit(net.whole(), replace(training, hardware=hardware, rank=rank, on_epoch=on_epoch), make_step)


def _unheard(_: Epoch) -> None:
    """Of epochs that another process has told."""


class _Progress:
    """The state after the last finished epoch, on disk; torch's format, read with ``weights_only``.

    A checksum follows in the same file, since torch itself does not notice a flipped bit in a tensor.
    """

    def __init__(self, path: Path, net: SegmentationNet, step: Step) -> None:
        self.path, self.net, self.step = path, net, step
        self.curve: list[Epoch] = []
        self.kept: dict[str, Tensor] = {}
        saved = self._read()
        if saved is not None:
            net.load_state_dict(saved["net"])
            step.load_state_dict(saved["step"])
            self.curve, self.kept = [Epoch(**epoch) for epoch in saved["curve"]], saved["kept"]

    def _read(self) -> dict[str, Any] | None:
        """What was saved; None when there is nothing readable, so that training starts from its first epoch."""
        if not self.path.exists():
            return None
        try:
            if not durable.ends_in_its_checksum(self.path):
                raise ValueError("its checksum is wrong")
            saved: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            if shortage(error, lambda _: None):  # the memory is at fault, not the file
                raise
            log.warning(
                "%s is damaged (%s); this training starts from its first epoch",
                self.path,
                str(error).split("\n")[0],
            )
            return None
        if saved.get("format") != FORMAT:
            log.warning(
                "%s was written by another version; this training starts from its first epoch", self.path
            )
            return None
        return saved

    @property
    def next_epoch(self) -> int:
        return len(self.curve)

    def advance(self, done: Epoch, *, keep_best: bool) -> None:
        earlier = [epoch.select_miou_percent or 0.0 for epoch in self.curve]
        if not keep_best or (done.select_miou_percent or 0.0) > max(earlier, default=-1.0):
            values = self.net.state_dict()
            self.kept = {name: tensor.detach().to("cpu", copy=True) for name, tensor in values.items()}
        self.curve.append(done)

    def write(self) -> None:
        """Keep all of it on the disk."""
        state: dict[str, Any] = {
            "format": FORMAT,
            "net": self.net.state_dict(),
            "step": self.step.state_dict(),
            "curve": [asdict(epoch) for epoch in self.curve],
            "kept": self.kept,
        }
        with durable.replacing(self.path) as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch hides that the disk is full
                    raise error.__context__ from None
                raise
            file.write(file.sha256.digest())


def _select_miou_percent(net: SegmentationNet, training: Training) -> float | None:
    data, hardware, rank = training.data, training.hardware, training.rank
    if data.select is None:
        return None
    counts = evaluate(
        net,
        rank.share(data.select),
        num_classes=len(data.classes),
        ignore_index=data.ignore_index,
        batch_size=training.schedule.batch_size,
        workers=hardware.workers,
        device=hardware.device,
        passes=training.passes,
    )
    return 100 * segmentation_metrics(rank.summed(counts, hardware.device)).miou


def _line(done: Epoch, epochs: int) -> str:
    select = "" if done.select_miou_percent is None else f"  select mIoU {done.select_miou_percent:5.2f} %"
    overflows = done.facts.get("overflows", 0)
    left_out = f"  {overflows:g} updates left out: float16 overflowed" if overflows else ""
    return f"epoch {done.epoch + 1:>3}/{epochs}  loss {done.loss:.4f}  lr {done.lr:.2e}{select}{left_out}"
