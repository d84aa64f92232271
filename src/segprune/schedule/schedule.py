"""How a network is trained: optimiser, learning rate, epochs. Shared by train and finetune."""

import importlib
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from segprune.errors import ConfigError
from segprune.importing import importing
from segprune.loss.contract import Loss


def _no_word(value: object) -> object:
    """A loss, not its word: that is an option of a config group, which Hydra looks up.

    Raises:
        ValueError: It is a word.
    """
    if isinstance(value, str):
        raise ValueError(
            f"loss={value} chooses it for all trainings, +loss@finetune.loss={value} for those of one schedule"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One training schedule.

    Attributes:
        epochs: Passes over the training items; 0 trains nothing.
        batch_size: Images in one forward pass.
        accumulate: Batches whose gradients one optimiser step averages.
        optimizer: ``sgd`` (with momentum) or ``adamw``.
        lr: Learning rate at the end of the warm-up, the highest of the schedule.
        weight_decay: Not applied to norms and biases.
        momentum: Of ``sgd``; ``adamw`` does not read it.
        decay: Shape of the learning rate after the warm-up: ``poly`` and ``cosine`` fall towards 0.
        poly_power: Exponent of ``poly``; the others do not read it.
        warmup_epochs: Epochs of linear warm-up, a part of ``epochs``; see ``warmup``.
        loss: What the training makes small.
        class_weights: Weights of the classes in the loss from the class frequencies in the training labels:
            ``sqrt`` (inverse square root), ``median`` (median frequency by frequency) or ``none``.
        aux_weight: Weight of an auxiliary head's loss; the main head has 1.
        penalty: Weight of the sum of the absolute scales of all batch norms, which is added to the loss: sparse
            training (Network Slimming, arXiv:1708.06519, which takes 1e-4); 0: none.
        amp: ``auto``: half-precision autocast on a GPU that computes in it, see ``autocast_dtype``; ``none``:
            float32 everywhere.
        compile: Whether ``torch.compile`` makes kernels for this very network: the first steps take minutes, the
            others less time, and roundings differ.
        checkpointing: Whether activations are computed twice instead of kept: less memory, a third more time.
        grad_clip: Largest gradient norm, or ``None``: not clipped.
        keep: Which epoch's weights count: the ``best`` on the select role, or the ``last``.

    Raises:
        ConfigError: The warm-up is longer than the training, or the network is to be compiled and
            its activations are to be computed twice.
    """

    epochs: NonNegativeInt
    batch_size: PositiveInt
    accumulate: PositiveInt
    optimizer: Literal["sgd", "adamw"]
    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: Annotated[float, Field(ge=0, lt=1)]
    decay: Literal["poly", "cosine", "constant"]
    poly_power: PositiveFloat
    warmup_epochs: NonNegativeFloat
    loss: Annotated[Loss, BeforeValidator(_no_word)]
    class_weights: Literal["none", "sqrt", "median"]
    aux_weight: NonNegativeFloat
    penalty: NonNegativeFloat
    amp: Literal["auto", "none"]
    compile: bool
    checkpointing: bool
    grad_clip: PositiveFloat | None
    keep: Literal["best", "last"]

    def __post_init__(self) -> None:
        if 0 < self.epochs < self.warmup_epochs:
            raise ConfigError(
                f"warmup_epochs is {self.warmup_epochs:g} but epochs is {self.epochs}; the warm-up is a part of "
                f"the epochs: give warmup_epochs={self.epochs / 2:g}, or more epochs"
            )
        if self.compile and self.checkpointing:
            raise ConfigError(
                "compile and checkpointing are both true; a compiled network decides by itself what it keeps: give "
                "compile=false or checkpointing=false"
            )

    @property
    def warmup(self) -> float:
        """Epochs of warm-up: half of a training that would be all warm-up, as of a single epoch to try things."""
        return self.epochs / 2 if self.warmup_epochs == self.epochs else self.warmup_epochs


def learning_rate(schedule: Schedule, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one optimiser step.

    Warm-up over w steps: ``lr * (step + 1) / w``, so that the first step does something and the last has
    ``lr``. Then, with p in [0, 1) the finished part of the remaining steps: poly ``lr * (1 - p) ** poly_power``,
    cosine ``lr * (1 + cos(pi * p)) / 2``, constant ``lr``.

    Args:
        schedule: The schedule.
        step: Optimiser steps done before this one, over all epochs.
        steps_per_epoch: Optimiser steps in an epoch: batches by ``accumulate``, rounded up.

    Raises:
        ValueError: The step is outside the schedule.
    """
    total = schedule.epochs * steps_per_epoch
    if not 0 <= step < total:
        raise ValueError(f"step {step} is not one of the {total} steps of the schedule")
    warmup = round(schedule.warmup * steps_per_epoch)
    if step < warmup:
        return schedule.lr * (step + 1) / warmup
    done = (step - warmup) / (total - warmup)
    match schedule.decay:
        case "poly":
            return float(schedule.lr * (1 - done) ** schedule.poly_power)
        case "cosine":
            return schedule.lr * (1 + math.cos(math.pi * done)) / 2
        case "constant":
            return schedule.lr


def make_optimizer(schedule: Schedule, net: nn.Module) -> Optimizer:
    """A new optimiser over every parameter of the network.

    Weights of convolutions and linear layers get the weight decay; parameters of at most one axis, which are
    norms and biases, do not: decay would pull the scale of a norm, and with it the importance of its channel,
    towards 0.
    """
    with importing():
        importlib.import_module("torch._dynamo")  # as the first optimiser does
    parameters = list(net.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    match schedule.optimizer:
        case "sgd":
            return SGD(groups, lr=schedule.lr, momentum=schedule.momentum)
        case "adamw":
            return AdamW(groups, lr=schedule.lr)


def autocast_dtype(schedule: Schedule, device: torch.device) -> torch.dtype | None:
    """The type to autocast training to, or ``None`` for float32; float16 needs the loss scaled.

    Never on a CPU, where half precision is emulated and slower on most machines.
    """
    if schedule.amp == "none" or device.type != "cuda":
        return None
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    # Volta (7.x) was the first with units for float16.
    return torch.float16 if torch.cuda.get_device_capability(device) >= (7, 0) else None
