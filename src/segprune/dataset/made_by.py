"""Which code and which libraries read the pixels of files: what is kept of them is read again with others."""

import functools
from collections.abc import Iterable
from hashlib import sha256
from importlib import metadata
from pathlib import Path

_READERS = ("decode", "mask_pixels", "band_files", "mask_code", "file_source")
"""The modules that read pixels."""
_LIBRARIES = ("numpy", "pillow", "opencv-python-headless", "tifffile", "imagecodecs")
"""The libraries that decode them."""


@functools.cache
def read_by() -> str:
    """16 hex digits that are others after an edit of the code that reads pixels, or with another library."""
    return _short([*map(_version, _LIBRARIES), written_as(*_READERS)])


@functools.cache
def written_as(*modules: str) -> str:
    """16 hex digits that are others after an edit of one of these modules, named from this package's folder."""
    files = (Path(__file__).parent / f"{name}.py" for name in modules)
    return _short(file.read_text(encoding="utf-8") for file in files)


def _short(parts: Iterable[str]) -> str:
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""
