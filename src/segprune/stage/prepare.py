"""The training phase of a criterion: logged, cached and resumable like any training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from segprune.budget.contract import Budget
from segprune.budget.simulate import CostSimulator
from segprune.graph.group import ChannelGroup
from segprune.graph.trace import trace
from segprune.graph.units import by_unit, unit_of
from segprune.loss.contract import Loss
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Phase, Target
from segprune.pruner.partial import scorable, unscored
from segprune.result.files import CURVE
from segprune.seed import derive
from segprune.stage.calibration import CalibrationSet
from segprune.stage.contract import Context
from segprune.stage.fit import arithmetic, inputs_of, log_epochs, read_curve
from segprune.stage.identity import fingerprint_of, identity
from segprune.stage.kept import note_source, read_state, write_state
from segprune.stage.state import NetState
from segprune.store.fingerprint import Fingerprint
from segprune.training.step import Training

LEARNED, FIGURE = "learned.safetensors", "phase.png"
WORD = "prepare"


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """A criterion's training phase and its inputs.

    Attributes:
        phase: The criterion's training phase.
        calibration: Labelled training images.
        loss: On them, without class weights.
        aux_weight: Weight of auxiliary heads in it.
        budget: What the ratio is a fraction of.
        ratio: Fraction to remove.
    """

    phase: Phase
    calibration: CalibrationSet
    loss: Loss
    aux_weight: float
    budget: Budget
    ratio: float | None

    def __call__(self, ctx: Context, before: NetState) -> tuple[NetState, Mapping[str, Tensor]]:
        """The network after the phase (``prepared``), and what else was learned."""
        key = self._key(ctx, before)
        entry = ctx.store.get(WORD, key, lambda folder: self._make(folder, ctx, before, key))
        note_source(entry, ctx, WORD)
        if entry.was_reused:
            log_epochs(ctx, WORD, read_curve(entry))
        ctx.tracker.file(entry.folder / FIGURE, "prune")
        return read_state(entry, ctx, "prepared", accepted=before.accepted), load_file(entry.folder / LEARNED)

    def _key(self, ctx: Context, before: NetState) -> Fingerprint:
        inputs = self._inputs(ctx, before)
        if self.phase.needs_budget:
            return fingerprint_of(ctx, WORD, inputs, self)
        return fingerprint_of(ctx, WORD, inputs, __name__, self.phase, without=("budget", "measure.cost"))

    def _inputs(self, ctx: Context, before: NetState) -> dict[str, object]:
        """A phase that needs no budget is shared by all budgets."""
        inputs = {
            **inputs_of(ctx, self.phase.schedule),
            "phase": identity(self.phase),
            "from": before.fingerprint,
        }
        if not self.phase.needs_budget:
            return inputs
        return inputs | {
            "calibrated_by": ctx.data.identity.calibration,
            "calibration": identity(self.calibration),
            "loss": identity(self.loss),
            "aux_weight": self.aux_weight,
            "size_hw": ctx.pass_hw,
            "budget": identity(self.budget),
            "ratio": self.ratio,
        }

    def _make(self, folder: Path, ctx: Context, before: NetState, key: str) -> None:
        cuttable = trace(before.module)
        groups = scorable(cuttable, unscored([self.phase], before.module, cuttable, ctx.pass_hw))
        training = Training(
            data=ctx.data,
            schedule=self.phase.schedule,
            seed=derive(ctx.seed, WORD),
            hardware=ctx.hardware,
            folder=folder,
            on_epoch=lambda epoch: log_epochs(ctx, WORD, [epoch]),
            key="pruner.phase.schedule",
            passes=ctx.passes,
        )
        prepared = self.phase(
            before.module,
            [by_unit(group) for group in groups],
            training=training,
            calibration=self.calibration.calibration(
                ctx, self.loss, self.aux_weight, with_images=self.phase.needs_budget
            ),
            target=self._target(before.module, cuttable, ctx.pass_hw),
        )
        learned = {name: value.cpu().contiguous() for name, value in prepared.learned.items()}
        save_file(learned, folder / LEARNED)
        self.phase.figure(learned).savefig(folder / FIGURE, dpi=100)
        (folder / CURVE).write_text(json.dumps([asdict(epoch) for epoch in prepared.curve]), encoding="utf-8")
        training_was = arithmetic(self.phase.schedule, ctx.hardware)
        write_state(folder, ctx, prepared.net, before.transforms, key, training=training_was)

    def _target(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], size_hw: tuple[int, int]
    ) -> Target:
        """The share that the budget leaves; all of it for a phase that needs no budget."""
        if not self.phase.needs_budget:
            return Target(share=1.0, remaining=lambda _: torch.ones(()))
        target = self.budget.target(self.ratio, CostSimulator(net, groups, size_hw))
        units = {group.name: unit_of(group) for group in groups}
        return Target(
            share=target.share,
            remaining=lambda keep: target.remaining(
                {name: chance[units[name]] for name, chance in keep.items()}
            ),
        )
