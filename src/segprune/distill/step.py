"""Training by the labels and a teacher."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segprune.dataset.contract import Batch
from segprune.distill.clock import Clock
from segprune.distill.contract import Loss, Seen, Shapes
from segprune.distill.kept_logits import KeptLogits
from segprune.distill.look import look
from segprune.distill.pairs import Pair
from segprune.distill.teacher import Teacher
from segprune.model.contract import SegmentationNet
from segprune.training.step import Step, Training


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What a step needs besides the training.

    Attributes:
        loss: What is added to the loss of the labels.
        teachers: In evaluation mode on the device; several teach by the mean of their logits.
        pairs: Where maps are compared, by place; with one teacher only.
        learned: What the loss has prepared.
        logits: What the teachers say of the training images; ``None``: they run for every batch.
    """

    loss: Loss
    teachers: Sequence[SegmentationNet]
    pairs: Mapping[str, Pair]
    learned: Mapping[str, Tensor]
    logits: KeptLogits | None = None


class TaughtStep(Step):
    """A step whose loss has a term of the teacher.

    The teacher runs once per batch, on the same images, without gradients and in the same precision, or its kept
    logits of these images are read; the term is computed in float32. What it trains besides the network is in a
    parameter group of its own, with the learning rate and the weight decay of the schedule, and is not part of the
    result. Auxiliary heads learn from the labels alone.

    Source: ``Loss`` of the configuration. Differs from common codes: batch norms of the teacher do not move.
    """

    def __init__(self, net: SegmentationNet, training: Training, steps: int, teaching: Teaching) -> None:
        """Prepare for ``steps`` batches an epoch; the network is changed in place, the teachers are not."""
        super().__init__(net, training, steps)
        self.teaching, self.ignore_index = teaching, training.data.ignore_index
        self.parts = _parts(teaching, len(training.data.classes)).to(self.device).train()
        if own := list(self.parts.parameters()):
            self.optimizer.add_param_group({"params": own, "weight_decay": self.schedule.weight_decay})
        self._student = {place: pair.student.on(self.device) for place, pair in teaching.pairs.items()}
        taps = {place: pair.teacher.on(self.device) for place, pair in teaching.pairs.items()}
        self.teacher = Teacher(nets=teaching.teachers, taps=taps)
        self._clock, self._seconds = Clock(self.device), 0.0
        self._terms: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """With what is trained besides the network."""
        return {**super().state_dict(), "parts": self.parts.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` gave."""
        super().load_state_dict(state)
        self.parts.load_state_dict(state["parts"])

    def epoch(self, batches: Iterable[Batch], epoch: int) -> float:
        """As every epoch, timed."""
        self._terms.clear()
        self._clock.clear()
        started = time.perf_counter()
        loss = super().epoch(batches, epoch)
        self._seconds = time.perf_counter() - started
        return loss

    def facts(self) -> dict[str, float]:
        """What the teacher says and costs; the loss of the epoch is with its term.

        ``distill_loss``: mean of the term; ``teacher_s_per_step``, ``distill_s_per_step``: seconds of the teacher
        and of the term; ``teacher_share_percent``: of the teacher in the time of the epoch, with loading, without
        the evaluation; ``teacher_mb``: its weights, in MB (10^6 bytes).
        """
        teacher, term = self._clock.seconds("teacher"), self._clock.seconds("term")
        return {
            "distill_loss": float(torch.stack(self._terms).mean()),
            "teacher_s_per_step": teacher / self.steps,
            "distill_s_per_step": term / self.steps,
            "teacher_share_percent": 100 * teacher / self._seconds,
            "teacher_mb": self.teacher.size_mb,
        }

    def backward(self, batch: Batch, window: int) -> Tensor:
        """As every step, with the term of the teacher."""
        image, label = self.on_device(batch)
        with self.autocast():
            with self._clock("teacher"):
                teacher = self._taught_by(batch.image, image)
            heads, maps = look(self.net, self.all_logits, image, self._student)
            loss: Tensor = self.loss(heads, label)
        with self._clock("term"), torch.autocast(self.device.type, enabled=False):
            term = self.term(Seen(logits=heads[0].float(), features=self._adapted(maps)), teacher, label)
        self._terms.append(term.detach())
        loss = loss + term
        torch.autograd.backward(self.scaler.scale(loss / window))
        return loss.detach()

    def _taught_by(self, in_memory: Tensor, on_device: Tensor) -> Seen:
        """What the teacher makes of the same images, which are at two places."""
        if self.teaching.logits is None:
            return self.teacher(on_device)
        return Seen(logits=self.teaching.logits(in_memory).to(self.device, non_blocking=True))

    def term(self, student: Seen, teacher: Seen, label: Tensor) -> Tensor:
        """The loss of the configuration, a scalar; the teacher's maps are brought to the size of the student's."""
        sized = Seen(
            logits=_resized(teacher.logits, student.logits),
            features={
                place: _resized(maps, student.features[place]) for place, maps in teacher.features.items()
            },
        )
        return self.teaching.loss(
            student, sized, label, ignore_index=self.ignore_index, parts=self.parts.get_submodule("loss")
        )

    def _adapted(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        adapters = {place: pair.adapter is not None for place, pair in self.teaching.pairs.items()}
        return {
            place: self.parts.get_submodule(f"adapters.{_key(place)}")(one) if adapters[place] else one
            for place, one in maps.items()
        }


def _parts(teaching: Teaching, classes: int) -> nn.ModuleDict:
    """What is trained besides the network: that of the loss, and a 1x1 convolution where channels differ."""
    places = {place: pair.place for place, pair in teaching.pairs.items()}
    adapters = {
        _key(place): nn.Conv2d(*pair.adapter, 1, bias=False)
        for place, pair in teaching.pairs.items()
        if pair.adapter is not None
    }
    loss = teaching.loss.parts(Shapes(classes=classes, places=places, learned=teaching.learned))
    return nn.ModuleDict({"loss": loss, "adapters": nn.ModuleDict(adapters)})


def _key(place: str) -> str:
    return place.replace(".", "/")


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)
