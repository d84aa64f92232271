"""The auto-encoder of a teacher's map: what its code keeps is what can be taught."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from segprune.dataset.contract import Batch
from segprune.distill.contract import Look
from segprune.model.contract import SegmentationNet
from segprune.seed import seeded
from segprune.training.loop import fit
from segprune.training.step import Step, Training

ENCODER = "encoder."


class AutoEncoder(SegmentationNet):
    """Three 3x3 convolutions to a code, and three transposed ones back; batch norm and ReLU between all.

    It is no network for images; the one training loop trains whatever is a ``SegmentationNet``.

    Args:
        channels: Of the map.
        code: Channels of the code.
        stride: Of the first convolution.
    """

    def __init__(self, channels: int, code: int, stride: int) -> None:
        super().__init__()
        self.encoder = encoder(channels, code, stride)
        self.decoder = nn.Sequential(
            *_layer(nn.ConvTranspose2d(code, code, 3, padding=1, bias=False)),
            *_layer(nn.ConvTranspose2d(code, code, 3, padding=1, bias=False)),
            nn.ConvTranspose2d(code, channels, 3, stride=stride, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), made of the code."""
        return self.back(self.encoder(maps), maps)

    def back(self, code: Tensor, like: Tensor) -> Tensor:
        """The code of a map -> a map of the size of another one."""
        return F.interpolate(self.decoder(code), size=like.shape[-2:], mode="bilinear", align_corners=False)


def encoder(channels: int, code: int, stride: int) -> nn.Sequential:
    """(N, channels, H, W) -> (N, code, H / stride, W / stride), not negative."""
    return nn.Sequential(
        *_layer(nn.Conv2d(channels, code, 3, stride=stride, padding=1, bias=False)),
        *_layer(nn.Conv2d(code, code, 3, padding=1, bias=False)),
        *_layer(nn.Conv2d(code, code, 3, padding=1, bias=False)),
    )


def adapter(channels: int, code: int, stride: int) -> nn.Sequential:
    """What a student's map goes through before it meets a code."""
    return nn.Sequential(*_layer(nn.Conv2d(channels, code, 3, stride=stride, padding=1, bias=False)))


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()


def coder_loss(net: AutoEncoder, maps: Tensor, *, sparsity: float) -> Tensor:
    """Squared error of what comes back, and ``sparsity`` times the L1 norm of the code by the values in the map."""
    code = net.encoder(maps)
    error: Tensor = F.mse_loss(net.back(code, maps), maps)
    size: Tensor = code.abs().sum() / maps.numel()
    return error + sparsity * size


class CoderStep(Step):
    """Updates of an auto-encoder on one of the maps that a teacher makes of the training images."""

    def __init__(
        self, net: AutoEncoder, training: Training, steps: int, *, look: Look, place: str, sparsity: float
    ) -> None:
        super().__init__(net, training, steps)
        self.coder, self.look, self.place, self.sparsity = net, look, place, sparsity

    def backward(self, batch: Batch, window: int) -> Tensor:
        """Add the gradients of one of the ``window`` batches that share an update; gives its loss."""
        maps = self.look(self.on_device(batch)).features[self.place]
        loss = coder_loss(self.coder, maps, sparsity=self.sparsity)
        torch.autograd.backward(self.scaler.scale(loss / window))
        return loss.detach()


def first_look(look: Look, training: Training) -> Mapping[str, Tensor]:
    """The teacher's maps of one image, for their sizes."""
    item = training.data.calibration[0]
    return look(Batch(item.image[None], item.label[None]).on(training.hardware.device)).features


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How an auto-encoder is made and trained.

    Attributes:
        width: Channels of the code by those of the map.
        stride: Positions of the map along a side by those of the code.
        epochs: How long it is trained.
        lr: Learning rate.
        weight_decay: Weight decay.
        sparsity: Weight of the L1 norm of the code.
    """

    width: Annotated[float, Field(gt=0, le=1)]
    stride: PositiveInt
    epochs: PositiveInt
    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    sparsity: NonNegativeFloat


def train_coder(look: Look, training: Training, place: str, channels: int, coding: Coding) -> AutoEncoder:
    """An auto-encoder of the teacher's maps at one place, trained by SGD; resumable, as ``fit`` is."""
    schedule = replace(
        training.schedule,
        epochs=coding.epochs,
        optimizer="sgd",
        lr=coding.lr,
        weight_decay=coding.weight_decay,
        warmup_epochs=0.0,
        penalty=0.0,
        class_weights="none",
        amp="none",
        compile=False,
        checkpointing=False,
        keep="last",
    )
    alone = replace(training, schedule=schedule, data=replace(training.data, select=None))
    code = max(1, round(coding.width * channels))
    with seeded(training.seed, "coder"):
        net = AutoEncoder(channels, code, coding.stride)

    def make(twin: SegmentationNet, of: Training, steps: int) -> CoderStep:
        coder = cast("AutoEncoder", twin)
        return CoderStep(coder, of, steps, look=look, place=place, sparsity=coding.sparsity)

    trained, _, _ = fit(net, alone, make)
    return cast("AutoEncoder", trained)
