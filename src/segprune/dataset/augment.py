"""Augmentation and resizing of image/label pairs; the only importer of albumentations."""

import os
from collections.abc import Mapping, Sequence
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
from segprune.importing import importing

Pixels = NDArray[np.uint8]
Fraction = Annotated[float, Field(ge=0, le=1)]
AreaFraction = Annotated[float, Field(gt=0, le=1)]

# Loaders run one process per core; threads inside a resize would only fight over the same cores.
cv2.setNumThreads(0)

# The ImageNet mean: padding is then near 0 after the networks' own normalisation.
_PAD_RGB = (124, 116, 104)
_AT_ONCE = 4  # bands that OpenCV resizes
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
        colourless: The same without the steps that change colours, for images that are not RGB of 8 bits.
        options: Everything that shapes the pipeline, for the dataset's identity.
    """

    pipeline: Any
    options: Mapping[str, object]
    colourless: Any

    def __call__(self, image: Pixels, label: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        """(H, W, C) and (H, W) -> the same at the pipeline's size; the arguments stay as they are."""
        pipeline = self.pipeline if is_rgb(image) else self.colourless
        pipeline.set_random_seed(seed)
        changed = pipeline(image=image, mask=label)
        return changed["image"], changed["mask"]


def resized_crop(
    options: CropOptions, size_hw: tuple[int, int], crop_hw: tuple[int, int] | None = None
) -> Augmentation:
    """Crop of random area and aspect (3/4 to 4/3 of the target's), resized to ``crop_hw``; flip; jitter.

    Args:
        options: Its area is a fraction of what ``crop_hw`` shows of an image of ``size_hw``, so that things in a
            crop are as large as there, or larger.
        size_hw: (H, W) in px of whole images.
        crop_hw: (H, W) in px of crops; ``None``: ``size_hw``.

    Raises:
        ConfigError: ``augment.crop_area`` runs downwards, or a crop is larger than the image.
    """
    alb = _albumentations()
    height, width = crop_hw or size_hw
    if height > size_hw[0] or width > size_hw[1]:
        raise ConfigError(
            f"dataset.crop_hw is {[height, width]}, but images have dataset.size_hw={list(size_hw)}, which is "
            "smaller; give dataset.crop_hw=null or smaller crops"
        )
    share = height * width / (size_hw[0] * size_hw[1])
    resize: dict[str, Any] = {
        "interpolation": cv2.INTER_LINEAR,
        "mask_interpolation": cv2.INTER_NEAREST_EXACT,
        "area_for_downscale": "image",
    }
    area, aspect = options["crop_area"], width / height
    if area is None and share == 1:
        first = alb.Resize(height, width, **resize)
    else:
        low, high = _rising("crop_area", area) if area else (1.0, 1.0)
        narrow, wide = (3 / 4, 4 / 3) if area else (1.0, 1.0)
        first = alb.RandomResizedCrop(
            size=(height, width),
            scale=(low * share, high * share),
            ratio=(aspect * narrow, aspect * wide),
            **resize,
        )
    described: dict[str, object] = {"resized_crop": dict(options), "size_hw": [height, width]}
    if share < 1:
        described["of_hw"] = list(size_hw)
    return _augmentation([first], options["flip"], options["jitter"], described)


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
    return _augmentation(steps, options["flip"], options["jitter"], described)


def resize_image(image: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """(H, W, C) -> (size_hw, C): area average where it shrinks, bilinear otherwise."""
    height, width = image.shape[:2]
    if (height, width) == tuple(size_hw):
        return image
    shrinks = size_hw[0] <= height and size_hw[1] <= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if image.shape[2] == 3:
        resized: Pixels = cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=how)
        return resized
    parts = [image[..., at : at + _AT_ONCE] for at in range(0, image.shape[2], _AT_ONCE)]
    done = [cv2.resize(part, (size_hw[1], size_hw[0]), interpolation=how) for part in parts]
    return np.concatenate([part.reshape(*size_hw, -1) for part in done], axis=2)


def resize_label(label: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """(H, W) uint8 -> size_hw, the nearest label of each pixel centre; no new values."""
    if label.shape == tuple(size_hw):
        return label
    resized: Pixels = cv2.resize(label, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def as_batch_item(image: Pixels, label: Pixels) -> Batch:
    """(H, W, C) of whole numbers and (H, W) uint8 -> image (C, H, W) float32 in [0, 1] and label (H, W) uint8."""
    planes = image.transpose(2, 0, 1).astype(np.float32, order="C")
    return Batch(torch.from_numpy(planes).div_(np.iinfo(image.dtype).max), as_label(label))


def as_label(label: Pixels) -> Tensor:
    """(H, W) uint8 -> (H, W) uint8, a copy."""
    return torch.tensor(label)


def is_rgb(image: NDArray[Any]) -> bool:
    """Whether an image is RGB of 8 bits, whose colours can be changed."""
    return image.dtype == np.uint8 and image.shape[2] == 3


def _augmentation(
    steps: Sequence[Any], flip: float, jitter: float, described: Mapping[str, object]
) -> Augmentation:
    """The steps, then flip and jitter."""
    alb = _albumentations()
    plain = [*steps, *([alb.HorizontalFlip(p=flip)] if flip > 0 else [])]
    hue = jitter * _HUE_PER_JITTER
    jitters = [alb.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter, hue=hue, p=1.0)]
    return Augmentation(
        alb.Compose([*plain, *(jitters if jitter > 0 else [])]), described, alb.Compose(plain)
    )


def _albumentations() -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would ask the network for a newer version
    with importing():
        import albumentations

    return albumentations


def _rising(key: str, limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    if low > high:
        raise ConfigError(f"dataset.augment.{key} is [{low}, {high}]; write the smaller number first")
    return low, high
