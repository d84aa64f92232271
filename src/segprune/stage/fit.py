"""Train and finetune: the same thing at two places of the chain."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from segprune import gpu
from segprune.measure.cost import cost
from segprune.result.files import CURVE
from segprune.schedule.schedule import Schedule, autocast_dtype
from segprune.seed import derive
from segprune.stage.contract import (
    Context,
    CostlyStepFactory,
    RefusingStepFactory,
    ShorteningStepFactory,
    Stage,
    StepFactory,
)
from segprune.stage.dense import is_orphan, shell
from segprune.stage.identity import fingerprint_of, identity
from segprune.stage.idle import idle
from segprune.stage.kept import note_source, read_state, write_state
from segprune.stage.planned import PlannedTraining
from segprune.stage.several_gpus import refuse_gpus
from segprune.stage.state import Trail
from segprune.stage.trial import refuse_schedule
from segprune.store.store import Entry
from segprune.training.cudnn import is_timed
from segprune.training.loop import fit
from segprune.training.step import Epoch, Hardware, Step, Training

log = logging.getLogger(__name__)
WITHOUT = ("measure.cost",)
"""Costs decide only how many epochs a stretched training has, and the epochs are among its inputs."""


@dataclass(frozen=True, kw_only=True)
class Fit(Stage):
    """Train the last network of the trail, or the configuration's own when there is none yet.

    Attributes:
        word: Prefix of its metrics.
        makes: Name of the network it makes, e.g. ``dense``.
        schedule: Epochs, optimiser and learning rate; with 0 epochs the stage does nothing.
        is_stretched: Whether a cut network is trained for more epochs, times dense MACs by its own: for as much
            compute as the schedule gives the dense one (Scratch-B, arXiv:1810.05270).
        step: Makes the step that it trains by; None: the plain one.
        starts: Whether it trains the configuration's own network, with which the chain begins.
    """

    makes: str
    schedule: Schedule
    is_stretched: bool = False
    step: StepFactory | None = None
    starts: bool = False

    @property
    def networks(self) -> tuple[str, ...]:
        """The trained one; none where there is nothing to train."""
        return (self.makes,) if self.starts or self.schedule.epochs > 0 else ()

    def refuse(self, ctx: Context, start: Trail) -> None:
        """Check that the training can run, and that results of the step can be told apart.

        Raises:
            DataError: There are fewer training images than a batch has.
            ConfigError: The network cannot be trained as the schedule says, or not on several GPUs; the step
                factory is no dataclass, or the step cannot do its work.
        """
        if self.step is not None:
            identity(self.step)
        if isinstance(self.step, RefusingStepFactory):
            self.step.refuse(ctx, start, self)
        if self.schedule.epochs > 0:
            key = ctx.key_of(self, "schedule")
            refuse_schedule(ctx, key, self.schedule)
            refuse_gpus(ctx, key, self.schedule, self.step)
            if self.schedule.warmup < self.schedule.warmup_epochs:
                log.info(
                    "%s.warmup_epochs is %g, as long as the whole training, so it is %g here",
                    *(key, self.schedule.warmup_epochs, self.schedule.warmup),
                )

    def memory_keys(self, ctx: Context) -> tuple[str, ...]:
        """The size of its batches."""
        return (f"{ctx.key_of(self, 'schedule')}.batch_size",)

    def trainings(self, ctx: Context) -> Sequence[PlannedTraining]:
        """Its own; a stretched one takes as long as the dense network would by the schedule."""
        if self.schedule.epochs == 0:
            return ()
        effort = self.step.effort(ctx) if isinstance(self.step, CostlyStepFactory) else 1.0
        return (
            PlannedTraining(
                word=self.word,
                key=ctx.key_of(self, "schedule"),
                schedule=self.schedule,
                about=identity(self),
                effort=effort,
            ),
        )

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail and the trained network; the same training is done once."""
        if trail and self.schedule.epochs == 0:
            return trail
        before = trail[-1] if trail else None
        schedule = self._stretched(ctx, trail) if self.is_stretched else self.schedule
        if isinstance(self.step, ShorteningStepFactory):
            schedule = self.step.shortened(ctx, trail, schedule)
        inputs = {
            **inputs_of(ctx, schedule),
            "from": before.fingerprint if before else None,
            **self._step_inputs(trail),
        }
        key = fingerprint_of(ctx, self.word, inputs, self, without=WITHOUT)

        def make(folder: Path) -> None:
            training = Training(
                data=ctx.data,
                schedule=schedule,
                seed=derive(ctx.seed, self.word),
                hardware=ctx.hardware,
                folder=folder,
                on_epoch=lambda epoch: log_epochs(ctx, self.word, [epoch]),
                key=ctx.key_of(self, "schedule"),
                passes=ctx.passes,
            )
            net = before.module if before else ctx.build()
            curve: tuple[Epoch, ...] = ()
            if schedule.epochs > 0:
                make_step = self.step(ctx, trail) if self.step else Step
                # a step of another kind may run any network of the trail
                with idle(() if self.step else trail, ctx.hardware.device):
                    net, curve, _ = fit(net, training, make_step)
            (folder / CURVE).write_text(json.dumps([asdict(epoch) for epoch in curve]), encoding="utf-8")
            how = arithmetic(schedule, ctx.hardware) if schedule.epochs > 0 else None
            write_state(folder, ctx, net, before.transforms if before else (), key, training=how)

        entry = ctx.store.get(self.word, key, make)
        note_source(entry, ctx, self.word)
        if entry.was_reused:
            log_epochs(ctx, self.word, read_curve(entry))
        return (*trail, read_state(entry, ctx, self.makes, accepted=before.accepted if before else ()))

    def _step_inputs(self, trail: Trail) -> dict[str, Any]:
        """A step that is not plain may look at every network of the trail."""
        if self.step is None:
            return {}
        past = trail[-1].ancestry if trail else None
        networks = [state.fingerprint for state in trail]
        return {"step": identity(self.step), "trail": networks, "root": past and past.root}

    def _stretched(self, ctx: Context, trail: Trail) -> Schedule:
        whole = shell(ctx) if is_orphan(trail[0]) else trail[0].module
        dense, small = (cost(net, ctx.pass_hw).macs for net in (whole, trail[-1].module))
        return replace(self.schedule, epochs=round(self.schedule.epochs * dense / small))


def inputs_of(ctx: Context, schedule: Schedule) -> dict[str, Any]:
    """What can change the result of a training besides the network it starts from, for its fingerprint."""
    return {
        "about": ctx.about,
        "data": ctx.data.identity.fit,
        "weighted_by": None if schedule.class_weights == "none" else ctx.data.identity.calibration,
        "select": ctx.data.identity.select,
        **({"passes": ctx.passes.record()} if ctx.data.select and not ctx.passes.is_single else {}),
        "device": ctx.hardware.device.type,
        **({"gpus": ctx.hardware.gpus} if ctx.hardware.gpus > 1 else {}),
        "autocast": str(autocast_dtype(schedule, ctx.hardware.device)),
        **({"cudnn": "timed"} if is_timed(ctx.hardware.device) else {}),
        "schedule": identity(schedule),
        "seed": ctx.seed,
    }


def arithmetic(schedule: Schedule, hardware: Hardware) -> str:
    """How a training computes, in words for rows: its type, whether its kernels were compiled, on how many GPUs."""
    half = autocast_dtype(schedule, hardware.device)
    name = gpu.precision_of(hardware.device) if half is None else str(half).removeprefix("torch.")
    several = f"{hardware.gpus} {'GPUs' if hardware.device.type == 'cuda' else 'processes'}"
    return ", ".join(
        [name, *(["compiled"] if schedule.compile else []), *([several] if hardware.gpus > 1 else [])]
    )


def read_curve(entry: Entry) -> list[Epoch]:
    """What each epoch of a finished training did."""
    return [Epoch(**epoch) for epoch in json.loads((entry.folder / CURVE).read_text(encoding="utf-8"))]


def log_epochs(ctx: Context, word: str, epochs: Iterable[Epoch]) -> None:
    """Track what epochs did, as metrics ``<word>/...`` with the number of the epoch as step."""
    for epoch in epochs:
        values = {f"{word}/loss": epoch.loss, f"{word}/lr": epoch.lr}
        if epoch.select_miou_percent is not None:
            values[f"{word}/val_miou"] = round(epoch.select_miou_percent, 2)
        values |= {f"{word}/{name}": value for name, value in epoch.facts.items()}
        ctx.tracker.metrics(values, step=epoch.epoch + 1)
