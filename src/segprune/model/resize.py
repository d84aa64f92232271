"""Logits and maps in the size of another tensor."""

import torch
from torch import Tensor
from torch.nn import functional as F


def resized(x: Tensor, like: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, C, H, W) of ``like``, bilinear."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def upsampled(logits: Tensor, image: Tensor) -> Tensor:
    """Logits (N, K, h, w) -> (N, K, H, W) of the image, bilinear, in single precision at least.

    On a GPU the gradient of many pixels is added up in the type of the logits: in half precision with a bias of
    some percent, and slowly.
    """
    return resized(logits if logits.dtype == torch.float64 else logits.float(), image)
