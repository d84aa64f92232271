"""Prune: score, plan, cut, prove, re-estimate the BN statistics."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator
from safetensors.torch import load_file, save_file
from torch import Tensor

from segprune.budget.contract import Budget, MeasuredBudget
from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup
from segprune.graph.proof import refuse_branches
from segprune.loss.contract import Loss
from segprune.model.contract import SegmentationNet
from segprune.model.copies import duplicate
from segprune.pruner.contract import Calibration, Pruner, TrainedPruner
from segprune.result.files import PLAN, SCORES
from segprune.schedule.schedule import Schedule
from segprune.stage.calibration import CalibrationSet, buffers_of, reestimate_batchnorm
from segprune.stage.contract import Context, Stage
from segprune.stage.cut_record import by_threshold, line, metrics, record, unaligned
from segprune.stage.dense import shell
from segprune.stage.fit import Fit, inputs_of
from segprune.stage.identity import fingerprint_of, identity
from segprune.stage.idle import idle
from segprune.stage.kept import note_source, read_state, write_state
from segprune.stage.planned import PlannedTraining
from segprune.stage.prepare import WORD as PREPARE
from segprune.stage.prepare import Preparation
from segprune.stage.reach import refuse_unreachable, unscored_by
from segprune.stage.rounds import Rounds
from segprune.stage.scoring import WORD as SCORE
from segprune.stage.scoring import Scored, score, score_once
from segprune.stage.several_gpus import refuse_gpus
from segprune.stage.state import NetState, Trail
from segprune.stage.trial import refuse_schedule, refuse_single
from segprune.store.fingerprint import Fingerprint
from segprune.store.store import Entry
from segprune.transform.contract import Transform

log = logging.getLogger(__name__)
RAW, REACH = "raw_buffers.safetensors", "reach"


@dataclass(frozen=True, kw_only=True)
class Prune(Stage):
    """Cut the last network of the trail down to a budget.

    Attributes:
        pruner: Which channels matter.
        budget: What the ratio is a fraction of, and its guards.
        ratio: Fraction to remove, in [0, 1), without the noise of ``range(0.2,0.4,0.1)``; None for a budget that
            takes none.
        rounds: In how many rounds; between two of them the network is trained and scored again.
        between: Schedule of that training; a criterion with a phase of its own repeats its phase instead.
        init: Weights after the cut: ``inherited`` from the network before it, or ``scratch``: the initial ones of
            the dense network, at the places that are left.
        calibration: Labelled training images the criterion and the BN re-estimation may see.
        loss: Of which criteria take gradients, as in training but without class weights.
        aux_weight: Weight of auxiliary heads in the loss that gradients come from, as in training.

    Raises:
        ConfigError: The budget or the criterion does not allow this ratio or several rounds.
    """

    pruner: Pruner
    budget: Budget
    ratio: Annotated[float, AfterValidator(partial(round, ndigits=6))] | None
    rounds: int
    between: Schedule
    init: Literal["inherited", "scratch"]
    calibration: CalibrationSet
    loss: Loss
    aux_weight: float

    def __post_init__(self) -> None:
        ratio = self.budget.checked(self.ratio)
        if self.rounds > 1 and ratio is None:
            raise ConfigError(
                f"rounds is {self.rounds}, but the budget takes no ratio that rounds could share. Take "
                "rounds=1, or another budget."
            )
        if isinstance(self.pruner, TrainedPruner) and self.pruner.phase.needs_budget:
            name = self.pruner.name
            if self.rounds > 1:
                raise ConfigError(
                    f"rounds is {self.rounds}, but pruner={name} learns all widths together in one phase. "
                    "Take rounds=1."
                )
            if ratio is None:
                raise ConfigError(
                    f"pruner={name} learns widths for a ratio, and the budget takes none. Take another budget."
                )

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail and up to three networks more.

        They are the one after the criterion's training phase, if it has one (``prepared``), the one right after
        the cut (``pruned_raw``), and the same with re-estimated BN statistics (``pruned``).
        """
        with idle(trail[:-1], ctx.hardware.device):
            trail, entry, accepted = self._cut(ctx, trail)
        note_source(entry, ctx, self.word)
        ctx.tracker.file(entry.folder / PLAN, "prune")
        ctx.tracker.metrics(metrics(json.loads((entry.folder / PLAN).read_text())))
        pruned = read_state(entry, ctx, "pruned", accepted=accepted)
        raw = duplicate(pruned.module)
        buffers = load_file(entry.folder / RAW, device=str(ctx.hardware.device))
        raw.load_state_dict({**raw.state_dict(), **buffers})
        raw_state = replace(
            pruned, name="pruned_raw", net=raw, fingerprint=f"{pruned.fingerprint}-raw", folder=None
        )
        return (*trail, raw_state, pruned)

    def _cut(self, ctx: Context, trail: Trail) -> tuple[Trail, Entry, frozenset[str]]:
        """The trail up to the network that is cut, the entry of the cut one, and what was accepted for it."""
        learned = None
        if isinstance(self.pruner, TrainedPruner):
            state, learned = self._preparation(self.pruner)(ctx, trail[-1])
            trail = (*trail, state)
        before = trail[-1]
        accepted = before.accepted | ctx.store.accepted_for(SCORE, self._score_key(ctx, before))
        key = fingerprint_of(ctx, self.word, self._inputs(ctx, before), self, without=self._without)
        entry = ctx.store.get(self.word, key, lambda folder: self._make(folder, ctx, before, learned, key))
        return trail, entry, accepted

    @property
    def networks(self) -> tuple[str, ...]:
        """The cut network before and after BN is re-estimated, behind the one that a criterion's phase trained."""
        prepared = ("prepared",) if isinstance(self.pruner, TrainedPruner) else ()
        return (*prepared, "pruned_raw", "pruned")

    @property
    def keeps(self) -> tuple[str, ...]:
        """Its own, scores, networks after the training phases of criteria, and what can be reached by measuring."""
        return (self.word, SCORE, PREPARE, REACH)

    def memory_keys(self, ctx: Context) -> tuple[str, ...]:
        """The sizes of the batches that it scores and trains with."""
        trained = dict.fromkeys(f"{training.key}.batch_size" for training in self.trainings(ctx))
        return (f"{ctx.key_of(self, 'calibration')}.batch_size", *trained)

    def trainings(self, ctx: Context) -> Sequence[PlannedTraining]:
        """The criterion's phase, which is repeated between rounds; else, between rounds, those by ``between``."""
        cut = PlannedTraining(
            word=self.word,
            key=ctx.key_of(self, "between"),
            schedule=self.between,
            about=identity(self),
            times=self.rounds - 1,
        )
        if not isinstance(self.pruner, TrainedPruner):
            return (cut,) if cut.epochs else ()
        phase = self.pruner.phase
        again = replace(
            cut,
            key=f"{ctx.key_of(self, 'pruner')}.phase.schedule",
            schedule=phase.schedule,
            effort=phase.effort,
        )
        first = replace(
            again, word=PREPARE, times=1, about=again.about if phase.needs_budget else identity(phase)
        )
        return (first, again) if again.times else (first,)

    def images_shown(self, ctx: Context, networks: int) -> int:  # noqa: ARG002 - it looks at its own network
        """Each for BN statistics and, as in a training, three times for scores that are not of weights alone."""
        count = min(self.calibration.images, len(ctx.data.calibration))
        return count * self.rounds * (1 if self.pruner.needs == "weights" else 4)

    def refuse(self, ctx: Context, start: Trail) -> None:
        """Check that every training of the cut can fill its batches, and that the budget can be reached.

        Raises:
            DataError: There are fewer training images than a batch has.
            BudgetError: The network cannot be cut that far, or not as closely as asked.
            ConfigError: Its channels cannot be followed, it cannot be trained as a schedule says, or it cannot be
                calibrated on one image.
        """
        phase = self.pruner.phase if isinstance(self.pruner, TrainedPruner) else None
        for key, schedule in {training.key: training.schedule for training in self.trainings(ctx)}.items():
            refuse_schedule(ctx, key, schedule)
            refuse_gpus(ctx, key, schedule, phase)
        if len(ctx.data.fit) == 1:
            refuse_single(ctx, "there is one image to calibrate on")
        net = start[-1].module if start else shell(ctx)
        refuse_branches(net, ctx.data.calibration[0].image[:, : ctx.pass_hw[0], : ctx.pass_hw[1]])
        if not isinstance(self.budget, MeasuredBudget):
            self.refuse_unreachable(net, ctx.pass_hw)
            return
        # once per machine: measuring takes time, and a plan measures nothing
        key = fingerprint_of(ctx, REACH, self._reach_inputs(ctx, start), self, without=("stage.fit",))
        ctx.store.get(REACH, key, lambda _: self.refuse_unreachable(net, ctx.pass_hw))

    def _reach_inputs(self, ctx: Context, start: Trail) -> dict[str, Any]:
        return {
            "about": ctx.about,
            "from": start[-1].fingerprint if start else None,
            "size_hw": ctx.pass_hw,
            "pruner": identity(self.pruner),
            **self._budget_inputs(ctx),
        }

    def _budget_inputs(self, ctx: Context) -> dict[str, Any]:
        measured = (
            {"setting": self.budget.setting(ctx.hardware.device)}
            if isinstance(self.budget, MeasuredBudget)
            else {}
        )
        return {"budget": identity(self.budget), "ratio": self.ratio, **measured}

    def refuse_unreachable(self, net: SegmentationNet, size_hw: tuple[int, int]) -> None:
        """Check that a network can be prepared and cut that far at all, see ``reach.refuse_unreachable``."""
        refuse_unreachable(net, size_hw, pruner=self.pruner, budget=self.budget, ratio=self.ratio)

    @property
    def _without(self) -> tuple[str, ...]:
        """What the cut does not depend on: a training before the first round is a result of its own."""
        return () if self.rounds > 1 else ("stage.fit", "stage.prepare")

    @property
    def _trains_between(self) -> bool:
        """Whether rounds are trained by ``between``; a criterion with a phase of its own repeats that."""
        return self.rounds > 1 and not isinstance(self.pruner, TrainedPruner)

    @property
    def _scored_by(self) -> str:
        """The criterion, and of which loss it took gradients."""
        of_loss = f" ({self.loss.name} loss)" if self.pruner.needs == "gradients of the loss" else ""
        return f"{self.pruner.name}{of_loss}"

    def _preparation(self, pruner: TrainedPruner) -> Preparation:
        return Preparation(
            phase=pruner.phase,
            calibration=self.calibration,
            loss=self.loss,
            aux_weight=self.aux_weight,
            budget=self.budget,
            ratio=self.ratio,
        )

    def _score_inputs(self, ctx: Context, before: NetState) -> dict[str, Any]:
        return {
            "data": ctx.data.identity.calibration,
            "size_hw": ctx.pass_hw,
            "seed": ctx.seed,
            "device": ctx.hardware.device.type,
            "from": before.fingerprint,
            "pruner": identity(self.pruner),
            "calibration": identity(self.calibration),
            "loss": identity(self.loss),
            "aux_weight": self.aux_weight,
        }

    def _score_key(self, ctx: Context, before: NetState) -> Fingerprint:
        parts = (self.pruner, self.calibration, self.loss, score.__module__)
        return fingerprint_of(ctx, SCORE, self._score_inputs(ctx, before), *parts)

    def _inputs(self, ctx: Context, before: NetState) -> dict[str, Any]:
        return {
            **self._score_inputs(ctx, before),
            "score": ctx.store.choice(SCORE, self._score_key(ctx, before)),
            **self._budget_inputs(ctx),
            "rounds": self.rounds,
            "between": inputs_of(ctx, self.between) if self._trains_between else None,
            "init": {self.init: ctx.about if self.init == "scratch" else None},
        }

    def _make(
        self, folder: Path, ctx: Context, before: NetState, learned: Mapping[str, Tensor] | None, key: str
    ) -> None:
        calibration = replace(self.calibration.calibration(ctx, self.loss, self.aux_weight), learned=learned)
        rounds = Rounds(
            score=lambda net, groups, number: self._scored(ctx, before, net, groups, calibration, number),
            scope=self.pruner.scope,
            budget=self.budget,
            ratio=self.ratio,
            count=self.rounds,
            unscored=unscored_by(self.pruner, before.module, ctx.pass_hw),
            train_between=lambda net, cuts, number: self._train_between(
                ctx,
                NetState(
                    name="cut",
                    net=net,
                    transforms=(*before.transforms, *cuts),
                    fingerprint=f"{key}-{number}",
                ),
                calibration,
                number,
            ),
        )
        result = rounds(before.module, ctx.pass_hw)
        log.info("%s", line(self._scored_by, self.budget.of, result))
        for text in by_threshold(result):
            log.info("%s", text)
        if result.reached.unaligned:
            log.info("%s", unaligned(result.reached))
        transforms = (*before.transforms, *result.cuts)
        small = result.net if self.init == "inherited" else _initial(ctx, transforms)
        save_file(dict(buffers_of(small)), folder / RAW)
        reestimate_batchnorm(small, calibration.batches)
        save_file({name: score.contiguous() for name, score in result.scores.items()}, folder / SCORES)
        plan = {**record(self.pruner.name, self.budget.of, result), "scored": before.fingerprint}
        (folder / PLAN).write_text(json.dumps(plan, indent=1), encoding="utf-8")
        write_state(folder, ctx, small, transforms, key, training=before.training)

    def _train_between(
        self, ctx: Context, state: NetState, calibration: Calibration, number: int
    ) -> SegmentationNet:
        reestimate_batchnorm(state.module, calibration.batches)
        if isinstance(self.pruner, TrainedPruner):
            return self._preparation(self.pruner)(ctx, state)[0].module
        fit = Fit(word=f"between_{number}", makes="between", schedule=self.between)
        keys = {**ctx.keys, f"stage.{fit.word}.schedule": ctx.key_of(self, "between")}
        return fit(replace(ctx, keys=keys), (state,))[-1].module

    def _scored(
        self,
        ctx: Context,
        before: NetState,
        net: SegmentationNet,
        groups: Sequence[ChannelGroup],
        calibration: Calibration,
        number: int,
    ) -> Scored:
        """The first round scores the network that all budgets start from."""
        score_now = partial(score, self.pruner, ctx, net, groups, calibration)
        if number > 1:
            return score_now()
        return score_once(ctx, self._score_key(ctx, before), score_now)


def _initial(ctx: Context, transforms: Sequence[Transform]) -> SegmentationNet:
    """The cut network with the dense network's initial weights."""
    net = ctx.build().to(ctx.hardware.device).eval()
    for made_by in transforms:
        net = made_by.replay(net)
    return net
