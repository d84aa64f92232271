"""Train and finetune: the same thing at two places of the chain."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from segprune.fit import PROGRESS, Epoch, fit
from segprune.schedule.schedule import Schedule, autocast_dtype
from segprune.seed import derive
from segprune.stage.contract import Context, Trail, identity, note_source, read_state, write_state
from segprune.store import fingerprint

CURVE = "curve.json"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Train the last network of the trail, or the configuration's own when there is none yet.

    Attributes:
        word: ``train`` or ``finetune``; prefix of its metrics.
        makes: Name of the network it makes, e.g. ``dense``.
        schedule: Epochs, optimiser and learning rate; with 0 epochs the stage does nothing.
    """

    word: str
    makes: str
    schedule: Schedule

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail and the trained network; reused when the same training was done before."""
        if trail and self.schedule.epochs == 0:
            return trail
        before = trail[-1] if trail else None
        key = fingerprint(
            self.word,
            {
                "about": ctx.about,
                "data": ctx.data.identity.fit,
                "weighted_by": None
                if self.schedule.class_weights == "none"
                else ctx.data.identity.calibration,
                "select": ctx.data.identity.select if self.schedule.keep == "best" else None,
                "device": ctx.hardware.device.type,
                "autocast": str(autocast_dtype(self.schedule, ctx.hardware.device)),
                "schedule": identity(self.schedule),
                "seed": ctx.seed,
                "from": before.fingerprint if before else None,
            },
        )

        def make(folder: Path) -> None:
            net, curve = fit(
                before.net if before else ctx.build(),
                ctx.data,
                self.schedule,
                seed=derive(ctx.seed, self.word),
                hardware=ctx.hardware,
                folder=folder,
                on_epoch=lambda epoch: self._log(ctx, [epoch]),
            )
            (folder / CURVE).write_text(json.dumps([asdict(epoch) for epoch in curve]), encoding="utf-8")
            write_state(folder, ctx, net, before.plans if before else (), key)
            (folder / PROGRESS).unlink(missing_ok=True)

        entry = ctx.store.get(self.word, key, make)
        note_source(entry, ctx, self.word)
        if entry.was_reused:
            self._log(ctx, (Epoch(**epoch) for epoch in json.loads((entry.folder / CURVE).read_text())))
        return (*trail, read_state(entry, ctx, self.makes, key))

    def _log(self, ctx: Context, epochs: Iterable[Epoch]) -> None:
        for epoch in epochs:
            values = {f"{self.word}/loss": epoch.loss, f"{self.word}/lr": epoch.lr}
            if epoch.select_miou_percent is not None:
                values[f"{self.word}/val_miou"] = round(epoch.select_miou_percent, 2)
            ctx.tracker.metrics(values, step=epoch.epoch + 1)
