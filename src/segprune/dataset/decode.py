"""Decoding of image and label files, with errors that name the file and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from segprune.dataset.augment import Pixels
from segprune.errors import DataError

_DEEP_GRAY = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_PNG = b"\x89PNG\r\n\x1a\n"


def read_image(path: Path) -> Pixels:
    """(H, W, 3) uint8 RGB, turned upright by its EXIF tag; grayscale and palette images become RGB.

    Raises:
        DataError: The file is missing, damaged, no image, or has more than 8 bits per gray value.
    """
    with _opened(path) as picture:
        if picture.mode in (*_DEEP_GRAY, "F"):
            raise DataError(
                f"{path} is a {picture.mode} image with more than 8 bits per pixel; convert it to 8-bit RGB"
            )
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"))


def read_label(path: Path) -> Pixels:
    """(H, W) uint8: the stored number of each pixel; for a palette image the index, not its colour.

    Raises:
        DataError: The file is missing, damaged or no image; it holds colours instead of numbers, was stored
            as JPEG or as gray PNG of 2 or 4 bits, or has values above 255.
    """
    with _opened(path) as picture:
        if picture.format == "JPEG":
            raise DataError(
                f"{path} is a JPEG label, whose compression changes class ids; store labels as PNG"
            )
        if picture.mode not in ("1", "L", "P", *_DEEP_GRAY):
            raise DataError(
                f"{path} is a {picture.mode} colour image; a label has one class id per pixel (8-bit gray "
                "or palette PNG): convert its colours to class ids"
            )
        values = np.array(picture)
    _refuse_shades(path)
    if values.dtype.itemsize == 1:
        return values.astype(np.uint8, copy=False)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 255:
        raise DataError(
            f"{path} has label values {low}..{high}; labels must fit 0..255 (class ids and "
            "dataset.ignore_index): renumber them"
        )
    return values.astype(np.uint8)


def _refuse_shades(path: Path) -> None:
    """Refuse a gray PNG of 2 or 4 bits: its numbers may be class ids or shades, and nothing tells which.

    By the PNG standard they are shades: the 3 of two bits is white, 255.
    """
    with path.open("rb") as file:
        header = file.read(26)
    depth, kind = (header[24], header[25]) if header.startswith(_PNG) else (8, 0)
    if kind == 0 and depth in (2, 4):
        raise DataError(
            f"{path} is a gray PNG of {depth} bits, whose values may be class ids or shades; store labels as PNG "
            "of 8 bits"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            picture.load()
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be decoded ({error}); the file is damaged, incomplete or no image: restore it, "
            "or remove both it and its partner"
        ) from error
