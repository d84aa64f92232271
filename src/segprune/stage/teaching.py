"""Who is taught by whom: the step of a stage whose network learns from a teacher too."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from segprune.checkpoint import ancestry, checkpoint
from segprune.dataset.contract import Batch
from segprune.distill.contract import Loss, Seen
from segprune.distill.kept_logits import KeptLogits
from segprune.distill.pairs import Made, Pair, pairs
from segprune.distill.step import TaughtStep, Teaching
from segprune.distill.teacher import Teacher
from segprune.errors import ConfigError
from segprune.measure.cost import cost
from segprune.model.contract import SegmentationNet
from segprune.schedule.schedule import Schedule
from segprune.seed import derive, seeded
from segprune.stage import teacher_logits as kept
from segprune.stage.contract import Context
from segprune.stage.dense import shell
from segprune.stage.fit import WITHOUT, Fit, inputs_of
from segprune.stage.identity import fingerprint_of, identity
from segprune.stage.state import NetState, Trail
from segprune.store.code import code_of, target_modules
from segprune.store.fingerprint import digests
from segprune.training.step import MakeStep, Step, Training

log = logging.getLogger(__name__)
PASSES = 3
"""Of a training step: forward, and backward to the maps and to the weights."""
_efforts: dict[str, float] = {}
"""Of trainings with named teachers, by what these, the network and the images are."""
WORD, LEARNED = "teach", "learned.safetensors"
GIVE = "give teacher.checkpoint=<folder of a checkpoint>"


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Trains by the labels and a distillation loss.

    The teacher is the first network of the trail, which is the dense one; or the networks that
    ``teacher.checkpoint`` and ``teacher.model`` name; or, for a loss that is taught by itself, the network as it
    was before the training.

    Attributes:
        loss: The loss.
        teachers: What tells the named teachers apart: weights, transforms, dense network, architecture and code; or
            none is named.
        cache_logits: Whether the teacher looks at each training image once, and not again in every epoch.
    """

    loss: Loss
    teachers: tuple[Mapping[str, Any], ...]
    cache_logits: bool = False

    def refuse(self, ctx: Context, start: Trail, fit: Fit) -> None:
        """Check, before anything is trained, that there is a teacher and that the loss can compare it.

        Raises:
            ConfigError: Nothing would be trained, there is no teacher, its logits are others, or the maps that are
                to be compared cannot be found or looked at.
            CheckpointError: A named teacher cannot be read, or knows other classes or images.
        """
        key = ctx.key_of(fit, "schedule")
        if fit.schedule.epochs == 0:
            raise ConfigError(
                f"{key}.epochs is 0, so {fit.word} trains nothing and there is nobody to teach. Give "
                f"distill=none, or {key}=short."
            )
        if fit.schedule.epochs == 1 and self.loss.match == "compute" and not fit.is_stretched:
            raise ConfigError(
                "distill.match is 'compute', which trains for fewer epochs with a teacher than without, but "
                f"{key}.epochs is 1. Give {key}.epochs=2 or more, or distill.match=epochs."
            )
        self._refuse_schedule(key, fit)
        self._refuse_teacher(start, fit)
        dense = shell(ctx)
        named = ctx.teachers() if self.teachers else ()
        for state in named:
            _refuse_other_logits(ctx, state)
        teacher = Made(net=named[0].module, transforms=named[0].transforms) if named else Made(net=dense)
        if self.cache_logits:
            kept.refuse(ctx, self.loss, teacher.net, fit.schedule)
        pairs(self.loss, Made(net=dense), teacher, dense, ctx.pass_hw, is_kin=self._is_kin(start))

    def shortened(self, ctx: Context, trail: Trail, schedule: Schedule) -> Schedule:
        """With ``match`` = ``compute``, as many epochs as have the multiply-adds of the schedule without a teacher.

        A step of the student counts ``PASSES`` passes of its MACs, every teacher one of its own, all counted by
        ``measure.cost``, so the same on every machine. Rounded down, to one epoch at least; warm-up in proportion.
        A teacher whose logits are kept passes once. What the loss itself computes, such as a critic or adapters,
        does not count.
        """
        if self.loss.match == "epochs":
            return schedule
        own = PASSES * cost(trail[-1].module if trail else shell(ctx), ctx.data.size_hw).macs
        teachers = sum(cost(state.module, ctx.data.size_hw).macs for state in self._teachers(ctx, trail))
        once, each = (teachers, 0) if self.cache_logits else (0, teachers)
        epochs = max(1, (schedule.epochs * own - once) // (own + each))
        takes = 100 * (epochs * (own + each) + once) / (schedule.epochs * own)
        log.info(
            "distill.match=compute: %d of %d epochs, which take %.0f %% of the multiply-adds without a teacher",
            epochs,
            schedule.epochs,
            takes,
        )
        return replace(
            schedule, epochs=epochs, warmup_epochs=schedule.warmup_epochs * epochs / schedule.epochs
        )

    def effort(self, ctx: Context) -> float:
        """With one pass more for every teacher, unless there are fewer epochs for it or its logits are kept."""
        if self.loss.match == "compute" or self.cache_logits:
            return 1.0
        if not self.teachers:  # it is the dense network
            return (PASSES + 1) / PASSES
        kind = json.dumps([ctx.about, ctx.data.size_hw, self.teachers], sort_keys=True, default=str)
        if kind not in _efforts:  # a plan asks for every job, and teachers are read from disk
            teachers = sum(cost(state.module, ctx.data.size_hw).macs for state in ctx.teachers())
            _efforts[kind] = 1 + teachers / (PASSES * cost(shell(ctx), ctx.data.size_hw).macs)
        return _efforts[kind]

    def _refuse_schedule(self, key: str, fit: Fit) -> None:
        for name in ("compile", "checkpointing"):
            if self.loss.maps != "none" and getattr(fit.schedule, name):
                raise ConfigError(
                    f"{key}.{name} is true, but distill compares feature maps and has to look into layers while "
                    f"they run, which that would disturb. Give {key}.{name}=false, or a loss of logits, such as "
                    "distill=kd."
                )

    def _refuse_teacher(self, start: Trail, fit: Fit) -> None:
        if self.loss.by_itself:
            if self.teachers:
                raise ConfigError(
                    "teacher.checkpoint or teacher.model names a teacher, but distill=self is the control in which "
                    "a network is taught by itself. Give neither, or distill=kd."
                )
            if fit.starts:
                raise ConfigError(
                    f"distill=self teaches {fit.word}, which makes the first network, so there is none before it "
                    "that could be its teacher. Leave it out of teacher.teaches."
                )
            return
        if len(self.teachers) > 1 and self.loss.maps != "none":
            raise ConfigError(
                f"teacher.checkpoint names {len(self.teachers)} networks, whose logits are averaged; their feature "
                "maps cannot be. Name one, or take a loss of logits, such as distill=kd."
            )
        if self.teachers:
            return
        if fit.starts:
            raise ConfigError(
                f"{fit.word} is to be taught, but it makes the first network, so there is none before it that "
                f"could teach it. For a teacher, {GIVE}; or leave {fit.word} out of teacher.teaches."
            )
        if start and start[0].transforms:
            raise ConfigError(
                f"checkpoint is {start[0].folder}, which is cut already, so the run has no dense network that "
                f"could teach. For a teacher, {GIVE} of the dense network; or give distill=none."
            )

    def __call__(self, ctx: Context, trail: Trail) -> MakeStep:
        """The callable that ``fit`` makes its step with."""
        teachers = self._teachers(ctx, trail)
        dense = shell(ctx)
        student = Made(net=trail[-1].module, transforms=trail[-1].transforms) if trail else Made(net=dense)
        first = Made(net=teachers[0].module, transforms=teachers[0].transforms)
        found = pairs(self.loss, student, first, dense, ctx.pass_hw, is_kin=self._is_kin(trail))

        def make(net: SegmentationNet, training: Training, steps: int) -> Step:
            logits = self._logits(ctx, teachers, training) if self.cache_logits else None
            teaching = Teaching(
                loss=self.loss,
                teachers=[state.module for state in teachers] if logits is None else [],
                pairs=found,
                learned=self._learned(ctx, teachers, found, training),
                logits=logits,
            )
            return TaughtStep(net, training, steps, teaching)

        return make

    def _teachers(self, ctx: Context, trail: Trail) -> Sequence[NetState]:
        if self.loss.by_itself:
            return trail[-1:]
        return ctx.teachers() if self.teachers else trail[:1]

    def _is_kin(self, trail: Trail) -> bool:
        """Whether the teacher was made of the dense network of the trail, or is that."""
        if not self.teachers:
            return True
        past = trail[-1].ancestry if trail else None
        return past is not None and past.root == self.teachers[0].get("root")

    def _told_by(self, teachers: Sequence[NetState]) -> list[Any]:
        return list(self.teachers) if self.teachers else [state.fingerprint for state in teachers]

    def _logits(self, ctx: Context, teachers: Sequence[NetState], training: Training) -> KeptLogits:
        return kept.teacher_logits(ctx, teachers, self._told_by(teachers), training.schedule)

    def _learned(
        self, ctx: Context, teachers: Sequence[NetState], found: Mapping[str, Pair], training: Training
    ) -> Mapping[str, Tensor]:
        """What the loss learns of the teacher alone; kept in the store for all students of the teacher."""
        if not self.loss.prepares:
            return {}
        inputs = {
            **inputs_of(ctx, training.schedule),
            "loss": identity(self.loss),
            "teachers": self._told_by(teachers),
            "places": [[pair.teacher.layer, pair.teacher.side] for pair in found.values()],
        }
        key = fingerprint_of(ctx, WORD, inputs, self, without=WITHOUT)

        def make(folder: Path) -> None:
            taps = {place: pair.teacher.on(ctx.hardware.device) for place, pair in found.items()}
            teacher = Teacher(nets=[state.module for state in teachers], taps=taps)
            alone = replace(
                training,
                folder=folder,
                seed=derive(ctx.seed, WORD),
                on_epoch=lambda epoch: ctx.tracker.metrics(
                    {f"{WORD}/loss": epoch.loss}, step=epoch.epoch + 1
                ),
            )
            with seeded(alone.seed, device=ctx.hardware.device):
                learned = self.loss.prepare(partial(_look, teacher), alone)
            save_file(
                {name: value.detach().cpu().contiguous() for name, value in learned.items()}, folder / LEARNED
            )

        entry = ctx.store.get(WORD, key, make)
        learned = load_file(entry.folder / LEARNED)
        return {name: value.to(ctx.hardware.device) for name, value in learned.items()}


def taught(word: str, loss: Loss | None, teacher: Mapping[str, Any]) -> Taught | None:
    """How a stage trains: by a distillation loss, or plainly.

    Args:
        word: Of the stage.
        loss: The loss, or ``None``.
        teacher: The keys below ``teacher`` of the configuration.

    Raises:
        CheckpointError: A named teacher cannot be read.
    """
    if loss is None or word not in teacher["teaches"]:
        return None
    return Taught(loss=loss, teachers=tuple(_identities(teacher)), cache_logits=bool(teacher["cache_logits"]))


def folders_of(teacher: Mapping[str, Any]) -> list[Path]:
    """The checkpoints that ``teacher.checkpoint`` names."""
    named = teacher["checkpoint"]
    return [] if named is None else [Path(one) for one in (named if isinstance(named, list) else [named])]


def _identities(teacher: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What tells the named teachers apart, wherever their files lie."""
    folders, node = folders_of(teacher), teacher["model"]
    for folder in folders:
        made = checkpoint.describe(folder)
        about = {name: made.get(name) for name in ("weights_sha256", "transforms", "plans", "model")}
        yield {**about, "root": _root_of(folder, made), **code_of(target_modules(made.get("model")))}
    if node is not None and not folders:
        yield {"model": node, "files": digests(node), **code_of(target_modules(node))}


def _root_of(folder: Path, made: Mapping[str, Any]) -> str | None:
    """What tells the dense network of a checkpoint from others; None where that is not known."""
    past, is_whole = ancestry.read(folder), not made.get("transforms", made.get("plans"))
    return past.root if past else made.get("weights_sha256") if is_whole else None


def _look(teacher: Teacher, batch: Batch) -> Seen:
    return teacher(batch.image)


def _refuse_other_logits(ctx: Context, state: NetState) -> None:
    """Run a teacher once on an image of the evaluation.

    Raises:
        ConfigError: Its logits are not those of the classes, at the size of the image.
    """
    size_hw = ctx.pass_hw
    with torch.no_grad():
        found = list(
            state.net(torch.zeros(1, ctx.data.bands_count, *size_hw, device=ctx.hardware.device)).shape
        )
    if found[:2] != [1, len(ctx.data.classes)]:
        raise ConfigError(
            f"the teacher gives logits of shape {found} for one image of {list(size_hw)} px; it must give "
            f"{len(ctx.data.classes)} classes. Name one that was trained on this dataset."
        )
