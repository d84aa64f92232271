"""How long a network takes that never ran here: a few steps of training and evaluation, timed."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from segprune.dataset.contract import Batch, Items
from segprune.measure.evaluate import evaluate
from segprune.model.contract import SegmentationNet
from segprune.model.copies import channels_last
from segprune.schedule.schedule import Schedule
from segprune.seed import seeded
from segprune.shortage import shortage
from segprune.stage.contract import Context
from segprune.stage.dense import shell
from segprune.training.cudnn import one_size
from segprune.training.recompute import recomputed
from segprune.training.step import Step, Training

MOST = 5
"""Repetitions that are timed where there is time for them, behind one that is not."""
PASSES = 3
"""Of a training image: forward, and backward to maps and weights."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """What was timed of a network.

    Attributes:
        trained_s: Seconds of a training image: loading, forward, backward, update.
        evaluated_s: Seconds of an image in evaluation.
        batch: Images in a timed training step.
    """

    trained_s: float
    evaluated_s: float
    batch: int


def step_time(ctx: Context, schedule: Schedule | None, limit_s: float) -> StepTime | None:
    """Train and evaluate the dense network for a few steps, with weights as they are drawn.

    Args:
        ctx: The run.
        schedule: By which it trains, if it does; what ``compile`` and class weights take is left out.
        limit_s: How long that may take, roughly; batches are smaller where a whole one would take longer.

    Returns:
        None where memory is too small, or the time for two images.
    """
    end = perf_counter() + limit_s
    try:
        with seeded(ctx.seed, "step_time", device=ctx.hardware.device):
            return _timed(ctx, schedule, end)
    except Exception as error:
        if shortage(error, lambda _: None):
            return None
        raise


def _timed(ctx: Context, schedule: Schedule | None, end: float) -> StepTime | None:
    device = ctx.hardware.device
    net = channels_last(shell(ctx))
    evaluated = _evaluated(ctx, net, end)
    if schedule is None:
        return StepTime(trained_s=0.0, evaluated_s=evaluated, batch=0)
    size = affordable(schedule.batch_size, evaluated, end - perf_counter())
    if not size:
        return None
    batch, loaded = _loaded(ctx, size)
    step = Step(
        net,
        Training(
            data=ctx.data,
            schedule=replace(schedule, class_weights="none", compile=False),
            seed=ctx.seed,
            hardware=ctx.hardware,
            folder=Path(),  # where progress would be kept
            on_epoch=lambda _: None,
            passes=ctx.passes,
        ),
        steps=1,
    )
    net.train()

    def once() -> None:
        step.backward(batch, 1)
        step.update()

    with one_size(device), recomputed(net) if schedule.checkpointing else nullcontext():
        computed = _seconds(once, device, end)
    workers = ctx.hardware.workers
    together = max(loaded / workers, computed) if workers else loaded + computed
    return StepTime(trained_s=together / size, evaluated_s=evaluated, batch=size)


def affordable(batch: int, evaluated_s: float, left_s: float) -> int:
    """Images in a timed step: a batch, or fewer if two steps would take longer than the time left; 0: none.

    Args:
        batch: Images in a batch.
        evaluated_s: Seconds of an evaluated image.
        left_s: Seconds left.
    """
    size = min(batch, int(left_s / (2 * PASSES * evaluated_s)))
    return size if size >= min(2, batch) else 0  # norms need two images to train


def _evaluated(ctx: Context, net: SegmentationNet, end: float) -> float:
    """Seconds of an image."""
    data, device = ctx.data, ctx.hardware.device
    count = 1 if device.type == "cpu" else min(4, len(data.report))

    def once() -> None:
        evaluate(
            net,
            _First(data.report, count),
            num_classes=len(data.classes),
            ignore_index=data.ignore_index,
            batch_size=count,
            workers=0,
            device=device,
            passes=ctx.passes,
        )

    return _seconds(once, device, perf_counter() + (end - perf_counter()) / 4) / count


def _loaded(ctx: Context, size: int) -> tuple[Batch, float]:
    """A training batch, and the seconds that one process takes for it: again, if images then come from memory."""
    for _ in range(1 if ctx.data.decoding == "often" else 2):
        started = perf_counter()
        items = [ctx.data.fit[index] for index in range(size)]
        took = perf_counter() - started
    return Batch(*(torch.stack(parts) for parts in zip(*items, strict=True))), took


def _seconds(once: Callable[[], None], device: torch.device, end: float) -> float:
    """The median time of a few repetitions, without the first one if there is time for another."""
    took: list[float] = []
    while len(took) < 1 + MOST and (not took or perf_counter() + took[-1] < end):
        started = perf_counter()
        once()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(perf_counter() - started)
    return median(took[1:] or took)


@dataclass(frozen=True)
class _First:
    """The first items."""

    items: Items
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Batch:
        return self.items[index]
