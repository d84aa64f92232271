"""Images of 16 bits, or of bands that Pillow does not know: PNG by OpenCV, TIFF by tifffile."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segprune.errors import ConfigError, DataError
from segprune.shortage import shortage

if TYPE_CHECKING:
    from tifffile import TiffFile

_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
_TIFF = (".tif", ".tiff")
_BESIDE = 1 | 4
"""TIFF's bits for a page that is an overview, or a mask of what is transparent."""
_PILLOWS = (1, 3, 4)
"""Bands of a TIFF of 8 bits that Pillow reads as RGB."""


def holds_raw_bands(path: Path, bands: int) -> bool:
    """Whether ``read_bands`` reads the image: PNG of 16 bits, TIFF of other than three bands or of 16 bits.

    Args:
        path: The file.
        bands: How many are wanted.

    Raises:
        ConfigError: A TIFF of other than three bands is wanted, and tifffile is missing.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        return png_depth(path) == 16
    if suffix not in _TIFF:
        return False
    if importlib.util.find_spec("tifffile") is None:
        if bands == 3:
            return False
        raise ConfigError(
            f"dataset.bands is {bands} and {path} is a TIFF, which tifffile reads. Install it with "
            "pip install 'segprune[tiff]'; or give PNG of up to four bands."
        )
    return _is_beyond_pillow(path, _PILLOWS if bands == 3 else ())


def read_bands(path: Path) -> tuple[NDArray[Any], str]:
    """(H, W, C) uint8 or uint16, and its kind of pixel in words.

    Raises:
        DataError: It is damaged, or holds several pictures, or other numbers than whole ones of 8 or 16 bits.
        ConfigError: It is compressed in a way that needs a library which is missing.
    """
    pixels = read_png(path) if path.suffix.lower() == ".png" else _of_tiff(path)
    return np.ascontiguousarray(pixels), f"{pixels.shape[2]} x {pixels.dtype}"


def raw_orientation(path: Path) -> int:
    """EXIF's number of an image that ``read_bands`` reads, whose pixels lie as they are stored.

    Raises:
        DataError: As ``refuse_turned``.
    """
    if path.suffix.lower() == ".png":
        with Image.open(path) as picture:
            number = picture.getexif().get(_ORIENTATION, 1)
        return number if isinstance(number, int) and 1 <= number <= 8 else 1
    import tifffile

    with tifffile.TiffFile(path) as file:
        refuse_turned(path, int(file.pages.first.tags.valueof(_ORIENTATION, 1)))
    return 1


def refuse_turned(path: Path, orientation: int) -> None:
    """Refuse a TIFF that says that it lies otherwise than it is stored.

    Raises:
        DataError: It does; some libraries turn it, some do not, and some read it wrongly.
    """
    if orientation != 1:
        raise DataError(
            f"{path} is a TIFF with the orientation {orientation}, which libraries read differently; store it as "
            "it should lie, without that tag"
        )


def png_depth(path: Path, *, gray: bool = False) -> int:
    """Bits of a number of a PNG, if asked of a gray one alone; 0: it is none, or cannot be read."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
    except OSError:
        return 0  # who reads it says what is wrong
    is_meant = len(header) == 26 and header.startswith(_PNG) and not (gray and header[25])
    return header[24] if is_meant else 0


def read_png(path: Path) -> NDArray[Any]:
    """(H, W, C) with all bits of the file; gray with alpha as four bands.

    Raises:
        DataError: It is damaged.
    """
    found = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DataError(f"{path} cannot be decoded; the file is damaged or incomplete: restore it")
    pixels = found.reshape(*found.shape[:2], -1)
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(pixels.shape[2])  # OpenCV's is blue, green, red
    ordered: NDArray[Any] = pixels if order is None else pixels[..., order]
    return ordered


def _is_beyond_pillow(path: Path, known: tuple[int, ...]) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            is_known = page.dtype == np.uint8 and page.samplesperpixel in known and len(file.pages) == 1
    except (OSError, ValueError, LookupError):
        return False  # Pillow says what is wrong, or reads what tifffile does not
    return not (is_known or page.bitspersample == 1)


def _first_picture(file: "TiffFile", path: Path) -> tuple[str, NDArray[Any]]:
    """Axes and pixels of a file's first picture, to which all pages of its size belong if each is one band.

    Raises:
        DataError: It holds several pictures of one size.
    """
    first = file.pages.first
    size = first.imagelength, first.imagewidth
    pages = [
        page
        for page in file.pages
        if (page.imagelength, page.imagewidth) == size and not page.subfiletype & _BESIDE
    ]
    series = file.series[0]
    if len(pages) <= len(series.pages):
        return series.axes, np.asarray(series.asarray())
    if {(page.shape, page.dtype) for page in pages} != {(size, first.dtype)}:
        raise DataError(
            f"{path} holds {len(pages)} pictures of one size, of which only one could be used; store each as a "
            "file of its own, or all bands in one picture"
        )
    return "CYX", np.stack([page.asarray() for page in pages])


def _stored(path: Path) -> tuple[str, NDArray[Any]]:
    """Axes and pixels of a TIFF; raises as ``read_bands``."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return _first_picture(file, path)
    except DataError:
        raise
    except Exception as error:  # codecs raise what they like
        if shortage(error, lambda _: None):
            raise
        if "imagecodecs" in str(error):
            raise ConfigError(
                f"{path} has a compression that imagecodecs reads ({error}). Install it with "
                "pip install 'segprune[tiff]'; or store the images without compression or with deflate."
            ) from error
        raise DataError(f"{path} cannot be decoded ({error}); the file is damaged: restore it") from error


def _of_tiff(path: Path) -> NDArray[Any]:
    axes, pixels = _stored(path)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path} holds numbers of type {pixels.dtype}; images have whole numbers of 8 or 16 bits: scale them "
            "to uint16"
        )
    if pixels.ndim == 2:
        return pixels[..., None]
    if pixels.ndim == 3 and axes[1:] == "YX":  # bands, or pages, one behind the other
        return np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and axes[:2] == "YX":
        return pixels
    raise DataError(
        f"{path} holds an array of shape {pixels.shape} ({axes}); an image has height, width and bands"
    )
