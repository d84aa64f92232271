"""One epoch of updates: forward, backward, update; what all trainings share and special ones extend."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segprune import stop
from segprune.dataset.contract import Batch, SegData
from segprune.dataset.weights import class_weights
from segprune.errors import TrainingError
from segprune.measure.passes import ONE_PASS, Passes
from segprune.model.contract import SegmentationNet
from segprune.schedule.schedule import Schedule, autocast_dtype, learning_rate, make_optimizer
from segprune.training.loss import segmentation_loss
from segprune.training.rank import ALONE, Rank


@dataclass(frozen=True)
class Epoch:
    """What one epoch did.

    Attributes:
        epoch: 0, 1, ...
        loss: Mean training loss over the epoch's batches.
        lr: Learning rate of its last step.
        select_miou_percent: mIoU on the select split after the epoch; None without such a split.
        facts: What else the steps measured, by metric name.
    """

    epoch: int
    loss: float
    lr: float
    select_miou_percent: float | None
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where training runs.

    Attributes:
        device: Torch device.
        workers: Processes that load data; 0 loads in the main process.
        gpus: How many train one network together; on a CPU as many processes.
    """

    device: torch.device
    workers: int
    gpus: int = 1


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training is given besides the network.

    Attributes:
        data: The dataset; images of the fit role train, those of the select role may choose the epoch.
        schedule: Epochs, optimiser, learning rate, loss.
        seed: Of order, augmentation and dropout.
        hardware: Where it runs.
        folder: Where its progress is kept.
        on_epoch: Called after every epoch, also for those that a resumed training finds done.
        key: The key of the schedule, for messages.
        passes: How images of the select role are shown to the network.
        rank: Which of the processes that train together this one is.
    """

    data: SegData
    schedule: Schedule
    seed: int
    hardware: Hardware
    folder: Path
    on_epoch: Callable[[Epoch], None]
    key: str = "train"
    passes: Passes = ONE_PASS
    rank: Rank = ALONE


SMALL = (0.1, 0.01, 0.001)
"""Scales of batch norms below these are counted in sparse training."""
READ_EVERY = 16
"""Steps between two looks at the losses. A look waits for the GPU; a loss that is not finite ends a training within
so many steps."""


class Step:
    """Forward, backward and update, with everything they need.

    A training that does more is a subclass; what it changes meanwhile must be in its ``state_dict``, so that a
    training that was interrupted ends in the same bits.

    Attributes:
        overflows: Updates of the last epoch that were left out, because float16 overflowed.
    """

    def __init__(self, net: SegmentationNet, training: Training, steps: int) -> None:
        """Prepare for ``steps`` batches an epoch; the network is changed in place."""
        schedule, device, data = training.schedule, training.hardware.device, training.data
        weights = class_weights(
            data.calibration,
            num_classes=len(data.classes),
            ignore_index=data.ignore_index,
            mode=schedule.class_weights,
            kept=data.label_counts,
        )
        self.net, self.schedule, self.device, self.steps = net, schedule, device, steps
        self.all_logits = torch.compile(net.all_logits, dynamic=False) if schedule.compile else net.all_logits
        self.loss = segmentation_loss(
            schedule.loss,
            ignore_index=data.ignore_index,
            class_weights=None if schedule.class_weights == "none" else weights.to(device),
            aux_weight=schedule.aux_weight,
        )
        self._scales = _scales_of(net) if schedule.penalty else []
        self.optimizer = make_optimizer(schedule, net)
        self.amp = autocast_dtype(schedule, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp == torch.float16)
        self.lr, self.key, self.rank, self.overflows, self._taken = 0.0, training.key, training.rank, 0, 0
        self.optimizer.register_step_post_hook(self._count)  # the scaler leaves a step out without a word

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs besides the network, as plain values and tensors."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def facts(self) -> dict[str, float]:
        """What to log after an epoch besides its loss, by metric name."""
        return {}

    @torch.no_grad()
    def scale_facts(self) -> dict[str, float]:
        """What to log after an epoch of sparse training: the penalty, and the percentage of small scales."""
        if not self._scales:
            return {}
        sizes = torch.cat([scale.detach().abs() for scale in self._scales]).cpu().double()
        small = {f"scales_below_{limit:g}": 100 * float((sizes < limit).double().mean()) for limit in SMALL}
        return {"penalty": self.schedule.penalty * float(sizes.sum()), **small}

    @torch.no_grad()
    def _press(self) -> None:
        """Add the subgradient of the penalty to the gradients of the scales, where nothing rescales it."""
        for scale in self._scales:
            if scale.grad is not None:
                scale.grad += self.schedule.penalty * scale.sign()

    def adjust_gradients(self) -> None:
        """Change the unscaled, clipped gradients before an update; here not at all."""

    def epoch(self, batches: Iterable[Batch], epoch: int) -> float:
        """Train on the batches of one epoch; gives their mean loss.

        Raises:
            TrainingError: The loss is not finite, or every update overflowed; says at which epoch and step.
        """
        self.net.train()
        self._taken = 0
        losses: list[float] = []
        unread: list[Tensor] = []
        accumulate = self.schedule.accumulate
        updates = math.ceil(self.steps / accumulate)
        for index, batch in enumerate(batches):
            stop.if_asked()
            self.lr = learning_rate(self.schedule, epoch * updates + index // accumulate, updates)
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr
            window = min(accumulate, self.steps - index // accumulate * accumulate)
            unread.append(self.backward(batch, window))
            if len(unread) == READ_EVERY or index + 1 == self.steps:
                losses += self._read(unread, epoch, len(losses))
                unread.clear()
            if (index + 1) % accumulate == 0 or index + 1 == self.steps:
                self.update()
        self.overflows = updates - self._taken
        if self.overflows == updates:
            raise TrainingError(
                f"all {updates} updates of epoch {epoch + 1} overflowed in float16, so the network did not change, "
                f"although the loss is {losses[-1]:.3g}. Give {self.key}.amp=none."
            )
        return sum(losses) / self.steps

    def _read(self, losses: Sequence[Tensor], epoch: int, before: int) -> list[float]:
        """The losses as numbers, with a single wait for the device.

        Args:
            losses: Scalars, those of consecutive steps.
            epoch: Of these steps.
            before: Steps of the epoch before these.
        """
        values: list[float] = torch.stack(tuple(losses)).tolist()
        for step, loss in enumerate(values, before + 1):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the training loss is {loss} at epoch {epoch + 1}, step {step} of {self.steps} "
                    f"(lr {self.lr:.3g}). Lower {self.key}.lr, lengthen {self.key}.warmup_epochs, or set "
                    f"{self.key}.grad_clip."
                )
        return values

    def _count(self, *_: object) -> None:
        self._taken += 1

    def backward(self, batch: Batch, window: int) -> Tensor:
        """Add the gradients of one of the ``window`` batches that share an update; gives its loss.

        The loss is a scalar on the device, and nothing in here reads a number from there: that would wait for it.
        """
        image, label = self.on_device(batch)
        with self.autocast():
            heads = [self.rank.gathered(logits) for logits in self.all_logits(image)]
            loss: Tensor = self.loss(heads, self.rank.gathered(label))
        torch.autograd.backward(self.scaler.scale(loss / window))
        return loss.detach()

    def on_device(self, batch: Batch) -> Batch:
        """The batch where the network is."""
        return batch.on(self.device)

    def autocast(self) -> torch.autocast:
        """Half precision where the schedule and the device have it."""
        return torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None)

    def update(self) -> None:
        """One step of the optimiser."""
        self.rank.add_up(one for group in self.optimizer.param_groups for one in group["params"])
        self.scaler.unscale_(self.optimizer)
        if self.schedule.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.schedule.grad_clip)
        self._press()
        self.adjust_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


def _scales_of(net: nn.Module) -> list[nn.Parameter]:
    """The scales of all batch norms that have some."""
    norms = (layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm))
    return [layer.weight for layer in norms if layer.affine]


MakeStep = Callable[[SegmentationNet, Training, int], Step]
"""(network, training, batches in an epoch) -> the step that trains it."""
