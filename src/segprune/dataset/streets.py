"""Streets: procedural street scenes with CamVid's classes; nothing to download."""

import functools
import hashlib
import json
import logging
import zipfile
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, with_config
from typing_extensions import TypedDict

from segprune.dataset.augment import CropOptions, resized_crop
from segprune.dataset.cache import locked, write_atomic
from segprune.dataset.contract import SegData
from segprune.dataset.identity import counts_file, identify, pixels_sha256
from segprune.dataset.items import ArraySource, CalibrationItems, EvaluationItems, FitItems
from segprune.dataset.labels import CAMVID
from segprune.dataset.made_by import written_as
from segprune.dataset.streets_scene import Split, scene

log = logging.getLogger(__name__)

_DRAWERS = ("streets_scene", "streets_canvas", "streets_objects", "streets_road", "labels", "../seed")
"""The modules that draw a scene."""
Side = Annotated[int, Field(ge=32)]  # smaller frames leave no pixel for a sign


@with_config(ConfigDict(extra="forbid"))
class Counts(TypedDict):
    """Images per role; ``select: 0`` means that the last epoch counts."""

    fit: PositiveInt
    select: NonNegativeInt
    report: PositiveInt


def streets(
    *,
    size_hw: tuple[Side, Side],
    counts: Counts,
    data_seed: NonNegativeInt,
    augment: CropOptions,
    seed: NonNegativeInt,
    cache_dir: Path,
) -> SegData:
    """Street scenes drawn by program; image i of a split depends on ``data_seed``, split, i and size only.

    Args:
        size_hw: (H, W) in px of images and labels.
        counts: Number of images per role.
        data_seed: Which world is drawn; runs with another ``seed`` still see the same images.
        augment: Training augmentation.
        seed: The run's seed.
        cache_dir: Where drawn images are kept between runs.

    Raises:
        ConfigError: ``cache_dir`` cannot be written.
    """
    fit = _drawn("train", counts["fit"], data_seed, size_hw, cache_dir)
    select = _drawn("val", counts["select"], data_seed, size_hw, cache_dir) if counts["select"] else None
    report = _drawn("test", counts["report"], data_seed, size_hw, cache_dir)
    augmentation = resized_crop(augment, size_hw)
    identity = identify(
        {"fit": _contents(fit), "select": _contents(select), "report": _contents(report)},
        space=CAMVID,
        code=None,
        augmentation=augmentation,
        size_hw=size_hw,
        seed=seed,
    )
    return SegData(
        name="streets",
        classes=CAMVID.classes,
        palette=CAMVID.palette,
        ignore_index=CAMVID.ignore_index,
        size_hw=size_hw,
        fit=FitItems(fit, augmentation, seed),
        calibration=CalibrationItems(fit, size_hw),
        select=EvaluationItems(select, size_hw) if select else None,
        report=EvaluationItems(report, size_hw),
        report_split="test",
        identity=identity,
        label_counts=counts_file(cache_dir, identity, "drawn"),
    )


def _contents(role: ArraySource | None) -> list[str]:
    return [_content(role)] if role else []


def _drawn(
    split: Split, count: int, data_seed: int, size_hw: tuple[int, int], cache_dir: Path
) -> ArraySource:
    """``count`` scenes of a split, from the cache or drawn now; of parallel jobs only one draws."""
    # Another version of either library may draw a line or a random number differently.
    libraries = [cv2.__version__, np.__version__]
    key = json.dumps([written_as(*_DRAWERS), libraries, split, count, data_seed, size_hw])
    path = cache_dir / "streets" / f"{split}-{count}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    with locked(path):  # if several jobs start at once, one draws and the others wait
        kept = _read(path)
        if kept is not None:
            return kept
        log.info("drawing %d street scenes for %s, once", count, split)
        pairs = [scene(data_seed, split, index, size_hw) for index in range(count)]
        drawn = ArraySource(np.stack([image for image, _ in pairs]), np.stack([label for _, label in pairs]))
        write_atomic(path, lambda file: np.savez(file, images=drawn.images, labels=drawn.labels))
    return drawn


def _read(path: Path) -> ArraySource | None:
    try:
        about = path.stat()
        return _loaded(path, about.st_mtime_ns, about.st_ino)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is damaged (%s): drawn again", path, error)
        return None


@functools.lru_cache(maxsize=3)
def _loaded(path: Path, changed_ns: int, inode: int) -> ArraySource:
    """A whole file, read once for the jobs of a process that follow one another."""
    del changed_ns, inode  # with which another file of that name is another one
    with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
        return ArraySource(file["images"], file["labels"])


@functools.lru_cache(maxsize=3)
def _content(role: ArraySource) -> str:
    return pixels_sha256(role.images, role.labels)
