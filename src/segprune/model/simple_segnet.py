"""A small SegNet: the decoder puts each feature back to where the encoder's max pooling took it."""

import itertools
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from segprune.model.block import conv_bn_relu, initialise, level_widths
from segprune.model.contract import SegmentationNet


class SimpleSegNet(SegmentationNet):
    """Encoder and decoder of equal depth; level i pools 2x2 and is unpooled with the same indices.

    Decoder channel j of a level is placed by the pooling indices of encoder channel j, so both must be
    removed together. Indices carry no gradient: only ``traced_logits`` shows this to autograd.
    """

    def __init__(self, *, widths: tuple[int, ...], convs_per_level: int, num_classes: int) -> None:
        super().__init__()
        ins = (3, *widths[:-1])  # channels that enter each level
        outs = (widths[0], *widths[:-1])  # channels that leave each level on the way back
        self.encoder = nn.ModuleList(
            _convs((enters, *[width] * convs_per_level)) for enters, width in zip(ins, widths, strict=True)
        )
        self.decoder = nn.ModuleList(
            _convs((*[width] * convs_per_level, leaves)) for width, leaves in zip(widths, outs, strict=True)
        )
        self.classifier = nn.Conv2d(widths[0], num_classes, 1)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W)."""
        return self._logits(image, is_traced=False)

    def traced_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        """As ``all_logits``; before each unpooling the pooled features are added, times 0."""
        return (self._logits(image, is_traced=True),)

    def _logits(self, image: Tensor, *, is_traced: bool) -> Tensor:
        x = self.normalise(image)
        pools: list[tuple[Tensor, Tensor, Tensor]] = []
        for level in self.encoder:
            x = level(x)  # (N, C, h, w)
            pooled, indices = F.max_pool2d(x, 2, return_indices=True)  # (N, C, h//2, w//2)
            pools.append((x, pooled, indices))
            x = pooled
        for level, (full, pooled, indices) in zip(reversed(self.decoder), reversed(pools), strict=True):
            if is_traced:
                x = x + 0 * pooled
            x = level(unpool(x, indices, size_hw=(full.shape[-2], full.shape[-1])))
        logits: Tensor = self.classifier(x)
        return logits


def unpool(x: Tensor, indices: Tensor, *, size_hw: tuple[int, int]) -> Tensor:
    """Put each value at its index and zeros elsewhere, as ``nn.MaxUnpool2d`` does.

    It is a scatter because that can be traced (``nn.MaxUnpool2d`` cannot, in PyTorch 2.14) and is
    deterministic on every device.

    Args:
        x: (N, C, h, w).
        indices: (N, C, h, w) int64, positions in a plane of H * W px, no two alike within a channel.
        size_hw: (H, W) of the result in px.

    Returns:
        (N, C, H, W).
    """
    height, width = size_hw
    plane = x.new_zeros(x.shape[0], x.shape[1], height * width)
    plane = plane.scatter(2, indices.flatten(2), x.flatten(2))  # (N, C, H * W)
    return plane.view(*x.shape[:2], height, width)  # (N, C, H, W)


def simple_segnet(
    *,
    width: PositiveInt,
    max_width: PositiveInt,
    depth: Annotated[int, Field(ge=1, le=5)],
    convs_per_level: PositiveInt,
    num_classes: PositiveInt,
) -> SimpleSegNet:
    """SegNet of configurable size.

    Args:
        width: Channels of the first level; each level has twice as many as the one before.
        max_width: Where doubling stops.
        depth: Levels, each a 2x2 pooling; the image must be at least 2**depth px on each side.
        convs_per_level: Convolutions of each level, on either side.
        num_classes: K.

    Source: SegNet, arXiv:1511.00561. Differs: width and depth are free, the original
    being VGG-16's, and a 1x1 classifier follows the last decoder convolution.
    """
    widths = level_widths(width=width, max_width=max_width, depth=depth)
    return SimpleSegNet(widths=widths, convs_per_level=convs_per_level, num_classes=num_classes)


def _convs(channels: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(
        *(conv_bn_relu(enters, leaves, kernel_size=3) for enters, leaves in itertools.pairwise(channels))
    )
