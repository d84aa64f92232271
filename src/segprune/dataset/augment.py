"""Augmentation and resizing of image/label pairs; the only importer of albumentations."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PositiveFloat, with_config
from torch import Tensor
from typing_extensions import TypedDict

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError

Pixels = NDArray[np.uint8]
Fraction = Annotated[float, Field(ge=0, le=1)]
AreaFraction = Annotated[float, Field(gt=0, le=1)]

# Loaders run one process per core; threads inside a resize would only fight over the same cores.
cv2.setNumThreads(0)

# The ImageNet mean: padding is then near 0 after the networks' own normalisation.
_PAD_RGB = (124, 116, 104)
_HUE_PER_JITTER = 0.25  # a small change of hue looks as unnatural as a large one of brightness


@with_config(ConfigDict(extra="forbid"))
class CropOptions(TypedDict):
    """Keys of ``augment`` for datasets whose crops are resized to one size.

    Attributes:
        crop_area: Smallest and largest fraction of the image's area that a crop takes; ``None``: no crop.
        flip: Probability of a horizontal flip; 0: never.
        jitter: Largest relative change of brightness, contrast and saturation (hue: a quarter); 0: none.
    """

    crop_area: tuple[AreaFraction, AreaFraction] | None
    flip: Fraction
    jitter: Fraction


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class ScaleOptions(TypedDict):
    """Keys of ``augment`` for datasets that are enlarged or reduced, then cropped.

    Attributes:
        scale: Smallest and largest factor on the image's sides; ``None``: 1.
        flip: Probability of a horizontal flip; 0: never.
        jitter: Largest relative change of brightness, contrast and saturation (hue: a quarter); 0: none.
    """

    scale: tuple[PositiveFloat, PositiveFloat] | None
    flip: Fraction
    jitter: Fraction


@dataclass(frozen=True)
class Augmentation:
    """A pipeline whose result depends on the pair and the seed of the call only.

    Attributes:
        pipeline: The albumentations ``Compose``.
        options: Everything that shapes the pipeline, for the dataset's identity.
    """

    pipeline: Any
    options: Mapping[str, object]

    def __call__(self, image: Pixels, label: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        """(H, W, 3) and (H, W) uint8 -> the same at the pipeline's size; the arguments stay as they are."""
        self.pipeline.set_random_seed(seed)
        changed = self.pipeline(image=image, mask=label)
        return changed["image"], changed["mask"]


def resized_crop(options: CropOptions, size_hw: tuple[int, int]) -> Augmentation:
    """Crop of random area and aspect (3/4 to 4/3 of the target's), resized to ``size_hw``; flip; jitter.

    Raises:
        ConfigError: ``augment.crop_area`` runs downwards.
    """
    alb = _albumentations()
    height, width = size_hw
    resize: dict[str, Any] = {
        "interpolation": cv2.INTER_LINEAR,
        "mask_interpolation": cv2.INTER_NEAREST_EXACT,
        "area_for_downscale": "image",
    }
    area = options["crop_area"]
    if area is None:
        first = alb.Resize(height, width, **resize)
    else:
        aspect = width / height
        first = alb.RandomResizedCrop(
            size=(height, width),
            scale=_rising("crop_area", area),
            ratio=(aspect * 3 / 4, aspect * 4 / 3),
            **resize,
        )
    steps = [first, *_flip_and_jitter(options["flip"], options["jitter"])]
    return Augmentation(alb.Compose(steps), {"resized_crop": dict(options), "size_hw": [height, width]})


def scaled_crop(options: ScaleOptions, crop_hw: tuple[int, int], ignore_index: int) -> Augmentation:
    """Random factor on both sides, padded where smaller than the crop, cropped to ``crop_hw``; flip; jitter.

    Padding is labelled ``ignore_index``. The usual training crop of Cityscapes (arXiv:1612.01105).

    Raises:
        ConfigError: ``augment.scale`` runs downwards.
    """
    alb = _albumentations()
    height, width = crop_hw
    steps = [
        alb.PadIfNeeded(height, width, position="random", fill=_PAD_RGB, fill_mask=ignore_index),
        alb.RandomCrop(height, width),
        *_flip_and_jitter(options["flip"], options["jitter"]),
    ]
    if options["scale"] is not None:
        low, high = _rising("scale", options["scale"])
        scale = alb.RandomScale(
            scale_limit=(low - 1, high - 1),
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST_EXACT,
            area_for_downscale="image",
            p=1.0,
        )
        steps.insert(0, scale)
    described = {"scaled_crop": dict(options), "crop_hw": [height, width], "ignore_index": ignore_index}
    return Augmentation(alb.Compose(steps), described)


def resize_image(image: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """(H, W, 3) uint8 -> (size_hw, 3): area average where it shrinks, bilinear otherwise."""
    height, width = image.shape[:2]
    if (height, width) == tuple(size_hw):
        return image
    shrinks = size_hw[0] <= height and size_hw[1] <= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Pixels = cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=how)
    return resized


def resize_label(label: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """(H, W) uint8 -> size_hw, the nearest label of each pixel centre; no new values."""
    if label.shape == tuple(size_hw):
        return label
    resized: Pixels = cv2.resize(label, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def as_batch_item(image: Pixels, label: Pixels) -> Batch:
    """(H, W, 3) and (H, W) uint8 -> image (3, H, W) float32 in [0, 1] and label (H, W) uint8."""
    planes = image.transpose(2, 0, 1).astype(np.float32, order="C")
    return Batch(torch.from_numpy(planes).div_(255), as_label(label))


def as_label(label: Pixels) -> Tensor:
    """(H, W) uint8 -> (H, W) uint8, a copy."""
    return torch.tensor(label)


def _flip_and_jitter(flip: float, jitter: float) -> list[Any]:
    alb = _albumentations()
    steps = []
    if flip > 0:
        steps.append(alb.HorizontalFlip(p=flip))
    if jitter > 0:
        hue = jitter * _HUE_PER_JITTER
        steps.append(alb.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter, hue=hue, p=1.0))
    return steps


def _albumentations() -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would ask the network for a newer version
    import albumentations

    return albumentations


def _rising(key: str, limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    if low > high:
        raise ConfigError(f"dataset.augment.{key} is [{low}, {high}]; write the smaller number first")
    return low, high
