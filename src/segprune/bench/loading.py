"""How long images take until a training can use them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from segprune.bench.contract import Bench, Figure
from segprune.bench.job import single
from segprune.bench.spent import Spent, compared, figure, here, in_turns
from segprune.dataset.augment import resized_crop
from segprune.dataset.contract import Items
from segprune.dataset.file_source import FileSource
from segprune.dataset.items import FitItems
from segprune.dataset.loading import FitLoader
from segprune.dataset.mask_code import MaskCode
from segprune.dataset.pairing import Pair
from segprune.dataset.workers import cores

BATCH = 4


def measure(bench: Bench) -> Iterator[Figure]:
    """An epoch of drawn images in memory, and of files: decoded at each look, and kept after the first."""
    job, turns = single(bench), bench.turns(5, 3)
    data = job.data(bench.cache)
    where = f"{job.height}x{job.width} px, crop, flip and jitter"
    workers = (0, min(2, cores()))
    loaders = {count: _loader(data.fit, count) for count in workers}
    for loader in loaders.values():
        _drain(loader, 0)  # starts the processes
    found = in_turns({str(count): partial(_drain, one, 1) for count, one in loaders.items()}, turns)
    seen = len(loaders[0]) * BATCH
    for count, all_of in found.items():
        rates = [seen / one.wall_s for one in all_of]
        yield figure(f"images in memory, {count} loading processes", rates, "images/s", where)
    plain: dict[str, Callable[[], Spent]] = {
        "ours": partial(_drain, loaders[0], 2),
        "loop": lambda: here(lambda: [data.fit[index] for index in range(seen)]),
    }
    against = in_turns(plain, turns)
    yield from compared("an epoch, by a loop over its items", against["ours"], against["loop"], where)
    yield from _of_files(bench, turns)


def _of_files(bench: Bench, turns: int) -> Iterator[Figure]:
    count, size_hw = bench.size(24, 6), (bench.size(1024, 256), bench.size(2048, 512))
    crop_hw = (size_hw[0] // 2, size_hw[1] // 2)
    pairs = _written(bench.place("files"), count, size_hw)
    where = f"{count} PNG of {size_hw[0]}x{size_hw[1]} px to {crop_hw[0]}x{crop_hw[1]} px"
    augmentation = resized_crop({"crop_area": (0.4, 1.0), "flip": 0.5, "jitter": 0.2}, crop_hw)
    for name, kept in (("decoded at each look", 0), ("kept in memory", count)):
        source = FileSource(pairs, [size_hw] * count, MaskCode(), upright=False, kept=kept)
        loader = _loader(FitItems(source, augmentation, seed=0), 0)
        first = _drain(loader, 0)
        later = [_drain(loader, epoch + 1) for epoch in range(turns)]
        seen = len(loader) * BATCH
        if kept:
            yield figure(
                "images of files, the epoch that decodes them", [seen / first.wall_s], "images/s", where
            )
        yield figure(f"images of files, {name}", [seen / one.wall_s for one in later], "images/s", where)


def _loader(items: Items, workers: int) -> FitLoader:
    return FitLoader(items, batch_size=BATCH, seed=0, workers=workers)


def _drain(loader: FitLoader, epoch: int) -> Spent:
    """Take all batches of an epoch."""
    return here(lambda: [None for _ in loader.epoch(epoch)])


def _written(folder: Path, count: int, size_hw: tuple[int, int]) -> list[Pair]:
    """Images of noise over slopes, which PNG packs about as well as photos, and masks of 11 bands."""
    drawn = np.random.default_rng(0)
    slope = np.linspace(0, 200, size_hw[1], dtype=np.float32)[None, :, None]
    pairs = []
    for number in range(count):
        image = (slope + drawn.integers(0, 24, (*size_hw, 3))).astype(np.uint8)
        mask = np.repeat(np.arange(size_hw[0]) * 11 // size_hw[0], size_hw[1]).reshape(size_hw)
        pair = Pair(str(number), folder / f"{number}.png", folder / f"{number}_mask.png")
        cv2.imwrite(str(pair.image), image)
        cv2.imwrite(str(pair.label), mask.astype(np.uint8))
        pairs.append(pair)
    return pairs
