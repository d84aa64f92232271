"""U-Net of configurable size; the small one is the default network."""

import itertools
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from segprune.model.block import conv_bn_relu, initialise, level_widths
from segprune.model.contract import SegmentationNet
from segprune.model.resize import resized

Upsample = Literal["bilinear", "transposed"]


class UNet(SegmentationNet):
    """Encoder of ``len(widths)`` levels with 2x2 pooling between them, decoder with one skip per level."""

    def __init__(
        self, *, widths: tuple[int, ...], convs_per_level: int, upsample: Upsample, num_classes: int
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            _convs(enters, width, convs_per_level)
            for enters, width in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.upsample = nn.ModuleList()  # from level i + 1 to the size of level i
        self.decoder = nn.ModuleList()
        for width, below in itertools.pairwise(widths):
            transposed = upsample == "transposed"
            self.upsample.append(_transposed(below, width) if transposed else nn.Identity())
            self.decoder.append(_convs((width if transposed else below) + width, width, convs_per_level))
        self.classifier = nn.Conv2d(widths[0], num_classes, 1)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W)."""
        x = self.normalise(image)
        skips: list[Tensor] = []
        for depth, level in enumerate(self.encoder):
            x = level(x if depth == 0 else F.max_pool2d(x, 2))  # (N, C, H // 2**depth, W // 2**depth)
            skips.append(x)
        skips.pop()  # the deepest level is x itself
        for upsample, level in zip(reversed(self.upsample), reversed(self.decoder), strict=True):
            skip = skips.pop()
            x = level(torch.cat([resized(upsample(x), skip), skip], dim=1))  # (N, C, h, w) of the skip
        logits: Tensor = self.classifier(x)
        return logits


def unet(
    *,
    width: PositiveInt,
    max_width: PositiveInt,
    depth: Annotated[int, Field(ge=2, le=6)],
    convs_per_level: PositiveInt,
    upsample: Upsample,
    num_classes: PositiveInt,
) -> UNet:
    """U-Net of configurable size.

    Args:
        width: Channels of the first level; each level has twice as many as the one before.
        max_width: Where doubling stops.
        depth: Resolution levels; the image must be at least 2**(depth - 1) px on each side.
        convs_per_level: Convolutions of each level, on either side.
        upsample: ``bilinear``: interpolation; ``transposed``: a learned 2x2 transposed convolution.
        num_classes: K.

    Source: U-Net, arXiv:1505.04597. Differs: padded convolutions, so that the logits have
    the image's size; batch norm; any image size, since decoder features are resized to their skips.
    """
    return UNet(
        widths=level_widths(width=width, max_width=max_width, depth=depth),
        convs_per_level=convs_per_level,
        upsample=upsample,
        num_classes=num_classes,
    )


def _convs(in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    ins = (in_channels, *[out_channels] * (count - 1))
    return nn.Sequential(*(conv_bn_relu(enters, out_channels, kernel_size=3) for enters in ins))


def _transposed(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
