"""Decoding of image and mask files, with errors that name the file and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from segprune.dataset.band_files import holds_raw_bands, raw_orientation, read_bands, refuse_turned
from segprune.dataset.mask_code import Kind, Stored
from segprune.dataset.mask_pixels import DEEP_GRAY, colours, numbers, refuse_shades
from segprune.errors import DataError

_ORIENTATION = 0x0112
_TIFF_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SAMPLES = 277
"""TIFF's number of the tag that says how many bands a file has."""
Image.MAX_IMAGE_PIXELS = None  # a person's own frames may be large; the limit is for files of strangers


class Decoded(NamedTuple):
    """What a file holds.

    Attributes:
        pixels: As stored, not turned.
        mode: Pillow's name of the kind of pixel, e.g. ``RGBA``.
        orientation: EXIF's number; 1: as stored.
        palette: Of a palette image whose numbers are read, the colour that each of them is shown in, as 0xRRGGBB.
    """

    pixels: NDArray[Any]
    mode: str
    orientation: int
    palette: tuple[int, ...] = ()


class BandsError(DataError):
    """An image has other bands than ``dataset.bands`` says.

    Attributes:
        held: How many it has.
    """

    def __init__(self, path: Path, held: int, bands: int) -> None:
        super().__init__(
            f"{path} has {held} bands and dataset.bands is {bands}; give dataset.bands={held}, or files of {bands} "
            "bands"
        )
        self.held = held


def read_image(path: Path, *, upright: bool, bands: int = 3) -> NDArray[Any]:
    """(H, W, C) uint8 or uint16; see ``decode_image``.

    Args:
        path: The file.
        upright: Whether it is turned as its EXIF tag says.
        bands: C.

    Raises:
        DataError: The file is missing, damaged, no image, or has other bands or numbers.
        ConfigError: It needs a library that is missing.
    """
    return _turned(decode_image(path, bands), upright=upright)


def read_mask(path: Path, kind: Kind, *, upright: bool) -> Stored:
    """(H, W) int32: what the mask stores for each pixel; of a palette image the index, unless colours are read.

    Args:
        path: The file, an image or a ``.npy`` of integers.
        kind: What is read from it.
        upright: Whether it is turned as its EXIF tag says.

    Raises:
        DataError: The file is missing, damaged or no image; was compressed as photos are, or is a gray PNG of 2 or
            4 bits; holds fractions, colours where numbers are read, or more colours than a mask has.
    """
    return _turned(decode_mask(path, kind), upright=upright)


def decode_image(path: Path, bands: int = 3) -> Decoded:
    """The image as it is stored; raises as ``read_image``.

    Of three bands, grayscale and palette images of 8 bits become RGB, and an alpha band is left out. Of another
    number, the file must hold as many.
    """
    if holds_raw_bands(path, bands):
        pixels, mode = read_bands(path)
        if pixels.shape[2] == 1 and bands == 3:
            pixels = np.repeat(pixels, 3, axis=2)
        elif pixels.shape[2] == 4 and bands == 3 and path.suffix.lower() == ".png":
            pixels = pixels[..., :3]  # the fourth is alpha
        return Decoded(_of_bands(pixels, bands, path), mode, raw_orientation(path))
    with _opened(path) as picture:
        if picture.format != "MPO":  # phones put a preview behind the photo
            _refuse_several(picture, path)
        if picture.mode in (*DEEP_GRAY, "F"):
            raise DataError(
                f"{path} is a {picture.mode} image, whose numbers have more than 8 bits; store it as PNG or TIFF "
                "of 16 bits, or convert it to 8-bit RGB"
            )
        if bands == 3:
            held = int(getattr(picture, "tag_v2", {}).get(_SAMPLES, 0))
            if held > len(picture.getbands()):  # Pillow drops a band that is not said to be alpha
                raise BandsError(path, held, bands)
            return Decoded(np.array(picture.convert("RGB")), picture.mode, _orientation(picture))
        pixels = np.array(picture.convert({"P": "RGB", "1": "L"}.get(picture.mode, picture.mode)))
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        return Decoded(_of_bands(pixels, bands, path), picture.mode, _orientation(picture))


def _of_bands(pixels: NDArray[Any], bands: int, path: Path) -> NDArray[Any]:
    if pixels.shape[2] != bands:
        raise BandsError(path, pixels.shape[2], bands)
    return pixels


def decode_mask(path: Path, kind: Kind) -> Decoded:
    """The mask as it is stored; raises as ``read_mask``."""
    if path.suffix == ".npy":
        return _decoded_array(path, kind)
    with _opened(path) as picture:
        if is_lossy(picture, path):
            raise DataError(
                f"{path} is a {picture.format} label, whose compression changes class ids; store labels as PNG"
            )
        _refuse_several(picture, path)
        read = numbers if kind == "numbers" else colours
        palette = _palette(picture) if kind == "numbers" and picture.mode == "P" else ()
        decoded = Decoded(read(picture, path), picture.mode, _orientation(picture), palette)
    refuse_shades(path)
    return decoded


def _palette(picture: Image.Image) -> tuple[int, ...]:
    """The colours of the numbers 0, 1, 2 and so on."""
    flat = picture.getpalette("RGB") or []
    return tuple(red << 16 | green << 8 | blue for red, green, blue in zip(*[iter(flat)] * 3, strict=True))


def _refuse_several(picture: Image.Image, path: Path) -> None:
    """Refuse a file of several pictures, such as a stack or an animation; smaller ones are overviews."""
    count, size = getattr(picture, "n_frames", 1), picture.size
    if count == 1:
        return
    same = 1
    for number in range(1, count):
        picture.seek(number)
        same += picture.size == size
    picture.seek(0)
    picture.load()
    if same > 1:
        raise DataError(
            f"{path} holds {same} pictures, of which only one could be used; store each as a file of its own"
        )


def is_lossy(picture: Image.Image, path: Path) -> bool:
    """Whether a file was compressed as photos are, so that its pixels are not those that were stored.

    JPEG 2000 and AVIF, which can also keep them, count as such: the file does not simply say so.
    """
    match picture.format:
        case "JPEG" | "MPO" | "JPEG2000" | "AVIF":
            return True
        case "TIFF":
            return picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
        case "WEBP":
            with path.open("rb") as file:
                file.seek(
                    12
                )  # behind RIFF, the size and WEBP: chunks of a name, a size and an even number of bytes
                while len(head := file.read(8)) == 8:
                    if head[:4] == b"VP8 ":
                        return True
                    if head[:4] != b"ANMF":  # which holds chunks behind 16 bytes
                        size = int.from_bytes(head[4:], "little")
                        file.seek(size + size % 2, 1)
                    else:
                        file.seek(16, 1)
    return False


def _turned(decoded: Decoded, *, upright: bool) -> NDArray[Any]:
    """The pixels, turned as the EXIF number says if that is wanted."""
    pixels = decoded.pixels
    if not upright or decoded.orientation == 1:
        return pixels
    turn = {2: "flip", 3: "180", 4: "flip 180", 5: "flip left", 6: "right", 7: "flip right", 8: "left"}
    for step in turn[decoded.orientation].split():
        pixels = (
            pixels[:, ::-1] if step == "flip" else np.rot90(pixels, {"left": 1, "180": 2, "right": 3}[step])
        )
    return np.ascontiguousarray(pixels)


def _orientation(picture: Image.Image) -> int:
    number = picture.getexif().get(_ORIENTATION, 1)
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def _decoded_array(path: Path, kind: Kind) -> Decoded:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array ({error}); restore or export it again") from error
    if kind == "colours" or values.ndim != 2 or values.dtype.kind not in "biu":
        raise DataError(
            f"{path} holds {values.dtype} values of shape {values.shape}; a mask in .npy has whole numbers of "
            "shape (H, W), the class id of each pixel, and no dataset.colours"
        )
    narrow = values.astype(np.int32)
    if (narrow != values).any():
        raise DataError(f"{path} holds {values.max()}, which no class id can be; store class ids from 0 on")
    return Decoded(narrow, f"npy {values.dtype}", 1)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            if picture.format == "TIFF":
                refuse_turned(path, _orientation(picture))
            picture.load()
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UnidentifiedImageError) and _starts_as_tiff(path):
            raise DataError(
                f"{path} is a TIFF of a kind that is not read, such as of 64-bit numbers; export it as PNG or TIFF "
                "of 8 or 16 bits"
            ) from error
        raise DataError(
            f"{path} cannot be decoded ({error}); the file is damaged, incomplete or no image: restore it, "
            "or remove both it and its partner"
        ) from error


def _starts_as_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _TIFF_BEGINS
