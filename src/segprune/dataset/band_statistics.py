"""What networks normalise images by, where these are not RGB of 8 bits."""

import json
import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from segprune.dataset.cache import locked, write_atomic
from segprune.dataset.contract import Bands, Identity
from segprune.dataset.items import Source
from segprune.dataset.made_by import read_by, written_as
from segprune.errors import ConfigError

log = logging.getLogger(__name__)
_LEAST_STD = 1e-4
"""Of a band that is the same everywhere: it tells nothing, but must not divide by 0."""


def bands_of(
    source: Source,
    *,
    count: int,
    bits: int,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    kept: Path,
) -> Bands | None:
    """Bands, bits and normalisation of the images; None for RGB of 8 bits, which models know how to normalise.

    Args:
        source: The training pairs.
        count: Bands of an image.
        bits: Of its numbers.
        mean: Of each band, in [0, 1]; None: measured on the training images, every pixel counting the same.
        std: Likewise.
        kept: File that keeps what was measured on these very images.

    Raises:
        ConfigError: Not as many numbers as bands are given, or one of both alone; the file cannot be written.
    """
    if (mean is None) != (std is None):
        raise ConfigError(
            "dataset.mean and dataset.std must be given together, or neither, to have them measured"
        )
    is_rgb, how = count == 3 and bits == 8, "given"
    if mean is None or std is None:
        if is_rgb:
            return None
        (mean, std), how = _kept(source, kept), "measured on the training images"
    if not is_rgb:
        log.info(
            "images have %d bands of %d bits; normalised by mean %s and std %s of [0, 1], %s; changes of colour "
            "(dataset.augment.jitter) are left out",
            *(count, bits, _text(mean), _text(std), how),
        )
    _refuse_odd("mean", mean, count, bits)
    _refuse_odd("std", std, count, bits)
    return Bands(count=count, bits=bits, mean=tuple(mean), std=tuple(std))


def _refuse_odd(key: str, values: tuple[float, ...], count: int, bits: int) -> None:
    is_std = key == "std"
    rule = f"{count} numbers" + (" above 0" if is_std else "")
    if len(values) != count or not 0 <= min(values) <= max(values) <= 1 or (is_std and min(values) == 0):
        raise ConfigError(
            f"dataset.{key} is {list(values)}; it must be {rule}, one for each band, of values in [0, 1]: "
            f"those of stored numbers are divided by {2**bits - 1}"
        )


def statistics_file(cache_dir: Path, identity: Identity) -> Path:
    """Where mean and standard deviation of the training images are kept, by what reads and measures them."""
    name = f"{identity.calibration[:24]}-{read_by()}-{written_as('band_statistics')}.json"
    return cache_dir / "band_statistics" / name


def measured(source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each band over all pixels of all images, in [0, 1] of the numbers' range."""
    pixels, total, squares = 0, np.zeros(()), np.zeros(())
    # disable=None: a bar on a terminal, nothing in a log file
    for index in tqdm(range(len(source)), "mean and std", unit="image", leave=False, disable=None):
        image = source[index][0]
        values = image.reshape(-1, image.shape[2]) / np.iinfo(image.dtype).max  # float64
        pixels += len(values)
        total = total + values.sum(0)
        squares = squares + (values**2).sum(0)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, _LEAST_STD**2))
    return tuple(mean.tolist()), tuple(std.tolist())


def _kept(source: Source, path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    with locked(path):  # if several jobs start at once, one measures and the others wait
        try:
            found = json.loads(path.read_bytes())
            return tuple(found["mean"]), tuple(found["std"])
        except (OSError, ValueError, TypeError, KeyError):  # not there yet, or damaged
            mean, std = measured(source)
            content = json.dumps({"mean": mean, "std": std}).encode()
            write_atomic(path, lambda file: file.write(content))
            return mean, std


def _text(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
