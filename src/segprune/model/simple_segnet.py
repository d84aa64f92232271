"""A small SegNet: the decoder puts each feature back to where the encoder's max pooling took it."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from segprune.model.block import conv_bn_relu, initialise, level_widths
from segprune.model.contract import SegmentationNet

Unpool = Callable[[Tensor], Tensor]


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
        pool = pool_by_comparison if torch.onnx.is_in_onnx_export() else pool_by_index
        pools: list[tuple[Tensor, Unpool]] = []
        for level in self.encoder:
            x, put_back = pool(level(x))  # (N, C, h, w) -> (N, C, h//2, w//2)
            pools.append((x, put_back))
        for level, (pooled, put_back) in zip(reversed(self.decoder), reversed(pools), strict=True):
            if is_traced:
                x = x + 0 * pooled
            x = level(put_back(x))
        logits: Tensor = self.classifier(x)
        return logits


def pool_by_index(full: Tensor) -> tuple[Tensor, Unpool]:
    """Maximum of each 2x2 window, and what puts values back to where the maxima were.

    Args:
        full: (N, C, H, W).

    Returns:
        (N, C, H//2, W//2), and a function of such a tensor that gives (N, C, H, W).
    """
    pooled, indices = F.max_pool2d(full, 2, return_indices=True)
    return pooled, partial(unpool, indices=indices, size_hw=(full.shape[-2], full.shape[-1]))


def pool_by_comparison(full: Tensor) -> tuple[Tensor, Unpool]:
    """As ``pool_by_index``, the same to the last bit for finite values, by operations that every runtime has.

    OpenVINO runs a scatter 8 times as slowly as the rest of the network, and TensorRT refuses indices of a pooling
    (NVIDIA/TensorRT issue 27). PyTorch itself is faster by index, up to 5 times.
    """
    pooled = F.max_pool2d(full, 2)  # (N, C, H//2, W//2)
    height, width = pooled.shape[-2:]
    corners = [full[..., i::2, j::2][..., :height, :width] for i in (0, 1) for j in (0, 1)]
    is_first, is_taken = [], torch.zeros_like(pooled, dtype=torch.bool)
    for corner in corners:
        is_first.append((corner >= pooled) & ~is_taken)
        is_taken = is_taken | is_first[-1]

    def put_back(x: Tensor) -> Tensor:
        placed = torch.stack([torch.where(here, x, 0.0) for here in is_first], dim=2)  # (N, C, 4, H//2, W//2)
        whole = F.pixel_shuffle(placed.flatten(1, 2), 2)  # (N, C, H or H - 1, W or W - 1)
        return F.pad(whole, (0, full.shape[-1] - whole.shape[-1], 0, full.shape[-2] - whole.shape[-2]))

    return pooled, put_back


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
