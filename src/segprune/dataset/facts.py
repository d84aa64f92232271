"""Checked facts about image and label files, kept between runs so that a file is examined once."""

import functools
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from segprune.dataset.cache import locked, write_atomic
from segprune.dataset.decode import decode_image, decode_mask
from segprune.dataset.made_by import read_by, written_as
from segprune.dataset.mask_code import Kind
from segprune.errors import DataError

log = logging.getLogger(__name__)


class FileKey(NamedTuple):
    """A file and what is read from it: an image of so many bands, or the numbers or colours of a mask."""

    kind: Literal["image"] | Kind
    path: Path
    bands: int = 3


class Fact(NamedTuple):
    """What is known of a file that was examined.

    Attributes:
        size_hw: (H, W) in px, as stored.
        sha256: Hex digest of the file's bytes.
        mode: Kind of pixel, e.g. ``RGBA``.
        orientation: EXIF's number; 1: as stored.
        bits: Of an image's numbers, 8 or 16.
        counts: Of a mask, each stored value that occurs and its pixels, rising; empty for an image.
        shown: Of a palette mask whose numbers are read, the colour of each stored value that occurs, as 0xRRGGBB.
    """

    size_hw: tuple[int, int]
    sha256: str
    mode: str
    orientation: int
    counts: tuple[tuple[int, int], ...]
    bits: int = 8
    shown: tuple[int, ...] = ()

    def seen_hw(self, *, upright: bool) -> tuple[int, int]:
        """(H, W) in px, as stored or turned as its EXIF number says."""
        height, width = self.size_hw
        return (width, height) if upright and self.orientation > 4 else (height, width)


_Stamp = tuple[int, int, int]
"""Bytes, and in ns when the content was changed and when anything about the file was, which nobody can set."""
_Known = dict[str, tuple[_Stamp, Fact]]
"""Name -> how the file was when it was examined, facts."""


def gather(keys: Sequence[FileKey], index: Path) -> Mapping[FileKey, Fact]:
    """The facts of all files: from the index file if known there, else by decoding the file completely.

    A file that lies where it did, with the same length and times of change, counts as unchanged, until the code
    that reads files changes. Facts are kept even if other files turn out faulty, so that the next start examines
    only those.

    Raises:
        DataError: A file is missing, damaged or of a wrong kind.
        ConfigError: The index cannot be written.
    """
    found = examined(keys, index)
    refuse([str(fault) for fault in found.values() if isinstance(fault, DataError)])
    return {key: fact for key, fact in found.items() if isinstance(fact, Fact)}


def examined(keys: Sequence[FileKey], index: Path) -> Mapping[FileKey, Fact | DataError]:
    """As ``gather``, with what is wrong with a file in place of its facts.

    Raises:
        ConfigError: The index cannot be written.
    """
    stamps = {key: _stamp(key.path) for key in keys}
    real = functools.cache(os.path.realpath)
    names = {key: _name(key, real) for key in keys}
    faults = {key: stamp for key, stamp in stamps.items() if isinstance(stamp, DataError)}
    with locked(index):  # if several jobs start at once, one examines the files and the others wait
        known = _read(index)
        unknown = [
            key
            for key, stamp in stamps.items()
            if key not in faults and known.get(names[key], (None,))[0] != stamp
        ]
        if unknown:
            found = _examine_all(unknown)
            for key, fact in found.items():
                stamp = stamps[key]
                if isinstance(fact, Fact) and not isinstance(stamp, DataError):
                    known[names[key]] = (stamp, fact)
                elif isinstance(fact, DataError):
                    faults[key] = fact
            content = json.dumps({"examined_by": examined_by(), "files": known}).encode()
            write_atomic(index, lambda file: file.write(content))
    return {key: faults[key] if key in faults else known[names[key]][1] for key in keys}


def examined_by() -> str:
    """32 hex digits that are others after an edit of the code that examines files, or with another library."""
    return f"{read_by()}{written_as('facts')}"


def refuse(faults: Sequence[str]) -> None:
    """Stop if there is any fault.

    Raises:
        DataError: With the first fault in full and the number of the others.
    """
    if faults:
        others = f" (and {len(faults) - 1} more faulty files)" if len(faults) > 1 else ""
        error = DataError(faults[0] + others)
        error.faults = tuple(faults)
        raise error


def _examine_all(keys: Sequence[FileKey]) -> Mapping[FileKey, Fact | DataError]:
    log.info("checking %d files, once; the first one is %s", len(keys), keys[0].path)
    found = {}
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for key, fact in zip(keys, pool.map(_examine, keys), strict=True):
            found[key] = fact
            if len(found) % 1000 == 0:
                log.info("checked %d of %d files", len(found), len(keys))
    return found


def _examine(key: FileKey) -> Fact | DataError:
    try:
        found = decode_image(key.path, key.bands) if key.kind == "image" else decode_mask(key.path, key.kind)
    except DataError as fault:
        return fault
    counts = () if key.kind == "image" else np.unique(found.pixels, return_counts=True)
    with key.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    height, width = found.pixels.shape[:2]
    values = zip(*(part.tolist() for part in counts), strict=True)
    bits = 8 * found.pixels.dtype.itemsize if key.kind == "image" else 8
    counted = tuple(values)
    shown = tuple(found.palette[value] for value, _ in counted if 0 <= value < len(found.palette))
    return Fact((height, width), digest, found.mode, found.orientation, counted, bits, shown)


def _read(index: Path) -> _Known:
    if not index.exists():
        return {}
    try:
        content = json.loads(index.read_bytes())
        if content.get("examined_by") != examined_by():
            return {}
        return {
            name: ((length, written_ns, changed_ns), _fact(*fact))
            for name, ((length, written_ns, changed_ns), fact) in content["files"].items()
        }
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        log.warning("%s is damaged (%s): every file is checked again", index, error)
        return {}


def _fact(
    size_hw: Sequence[int],
    sha256: str,
    mode: str,
    orientation: int,
    counts: Sequence[Sequence[int]],
    bits: int,
    shown: Sequence[int],
) -> Fact:
    height, width = size_hw
    counted = tuple((value, pixels) for value, pixels in counts)
    return Fact((height, width), sha256, mode, orientation, counted, bits, tuple(shown))


def _stamp(path: Path) -> _Stamp | DataError:
    try:
        status = path.stat()
    except OSError as error:
        return DataError(f"{path} cannot be read ({error}); restore it, or remove its partner too")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        return DataError(f"{path} is no plain file but a pipe, socket or device; remove it and its partner")
    # neither device nor inode: on network file systems they differ between machines, or from day to day
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _name(key: FileKey, real: Callable[[Path], str]) -> str:
    bands = "" if key.bands == 3 else f" of {key.bands} bands"
    path = key.path.absolute()
    place = real(path) if path.is_symlink() else f"{real(path.parent)}/{path.name}"  # folders are many files'
    return f"{key.kind}{bands}:{place}"
