"""What the pixels of a mask that is an image stand for: the numbers or the colours that its file stores."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segprune.dataset.band_files import png_depth, read_png
from segprune.dataset.mask_code import Stored
from segprune.errors import DataError

DEEP_GRAY = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's names of gray of more than 8 bits."""
_MOST_COLOURS = 1024
"""No label set has more; compressed or smoothed masks have."""
_BITS = 258
"""TIFF's number of the tag that says how many bits each band has."""
OBJECTS = (
    "If a colour stands for one object and not for a class, as the ids R + 256 G + 65536 B of COCO's panoptic PNG "
    "do, take masks of classes: for COCO stuffthingmaps_trainval2017, which dataset=coco reads"
)
"""What to do about masks that cannot be read as classes."""


def numbers(picture: Image.Image, path: Path) -> Stored:
    """(H, W) int32 numbers; of a palette image the index.

    Raises:
        DataError: It holds colours or fractions, or has several bands of more than 8 bits and is no PNG.
    """
    if picture.mode in ("1", "L", "P", *DEEP_GRAY):
        return np.array(picture).astype(np.int32)
    bands = _rgb(picture, path)
    if picture.mode not in ("RGB", "RGBA", "LA") or (bands != bands[..., :1]).any():
        raise DataError(
            f"{path} is a {picture.mode} colour image; a label has one class id per pixel (8-bit gray or palette "
            "PNG). If its colours are the classes, give them as "
            f"'dataset.colours={{road: [128, 64, 128], ...}}' or as dataset.colours=/path/to/colours.csv. {OBJECTS}"
        )
    return bands[..., 0].astype(np.int32)


def colours(picture: Image.Image, path: Path) -> Stored:
    """(H, W) int32 colours, as 0xRRGGBB.

    Raises:
        DataError: There are more than a mask has, or such as 8 bits cannot say; or as of ``numbers``.
    """
    bands = _rgb(picture, path)
    if bands.dtype != np.uint8:
        bands, rest = np.divmod(bands, 257)  # 65535 is as bright as 255
        if rest.any() or not 0 <= bands.min() <= bands.max() <= 255:
            raise DataError(
                f"{path} has colours of 16 bits that no colour of 8 bits is, so dataset.colours cannot name them; "
                "store the mask as 8-bit PNG, or, if its numbers are the classes, give dataset.values"
            )
    bands = bands.astype(np.int32)
    stored: Stored = bands[..., 0] << 16 | bands[..., 1] << 8 | bands[..., 2]
    count = len(np.unique(stored))
    if count > _MOST_COLOURS:
        raise DataError(
            f"{path} has {count} colours, so it was compressed or smoothed, and its classes cannot be told; export "
            "it again as PNG, without antialiasing"
        )
    return stored


def _rgb(picture: Image.Image, path: Path) -> NDArray[Any]:
    """(H, W, 3), an alpha band left out, with all bits that the file has: Pillow would drop the lower of 16."""
    if picture.mode == "F":
        raise DataError(
            f"{path} holds fractions (32-bit float); a label has whole numbers, the class id of each pixel: "
            "store it as 8- or 16-bit gray PNG"
        )
    if picture.mode in DEEP_GRAY:
        return np.repeat(np.array(picture)[..., None], 3, axis=2)
    if picture.format == "PNG" and png_depth(path) == 16:
        return read_png(path)[..., :3]
    if _is_narrowed(picture, path):
        raise DataError(
            f"{path} has several bands of more than 8 bits, which are not read whole; store the label as gray PNG "
            "of 8 or 16 bits"
        )
    return np.array(picture.convert("RGB"))


def _is_narrowed(picture: Image.Image, path: Path) -> bool:
    """Whether Pillow kept 8 bits of each number of a TIFF or PPM that has more."""
    if picture.format == "PPM":
        with Image.open(path) as unread:
            args = unread.tile[0].args
        return isinstance(args, tuple) and args[-1] > 255
    return bool(max(getattr(picture, "tag_v2", {}).get(_BITS, (8,))) > 8)


def refuse_shades(path: Path) -> None:
    """Refuse a gray PNG of 2 or 4 bits: its numbers may be class ids or shades, and nothing tells which.

    By the PNG standard they are shades: the 3 of two bits is white, 255.

    Raises:
        DataError: It is one.
    """
    depth = png_depth(path, gray=True)
    if depth in (2, 4):
        raise DataError(
            f"{path} is a gray PNG of {depth} bits, whose values may be class ids or shades; store labels as PNG "
            "of 8 bits"
        )
