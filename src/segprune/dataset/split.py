"""Seeded divisions of images into roles."""

import math
from collections import Counter
from collections.abc import Sequence, Set

import numpy as np

from segprune.dataset.pairing import Pair
from segprune.errors import ConfigError
from segprune.seed import derive


def stratified(holds: Sequence[Set[int]], fractions: Sequence[float], seed: int) -> list[int]:
    """For each of N labelled images the part that it goes to; parts have the sizes that the fractions say.

    The images of the rarest class are dealt first, each to the part that lacks most of them, and so on: a class of
    few images is in every part as far as it can be, and in the largest part first.

    Args:
        holds: The classes that occur in each image.
        fractions: Of the images, one per part; their sum is 1. A part of 0 gets none.
        seed: Decides between images, and between parts, that are as good as each other.

    Raises:
        ConfigError: There are fewer images than parts.

    Source: iterative stratification of multi-label data (Sechidis et al., ECML PKDD 2011). Here parts are filled to
    exact sizes, where the paper's sizes may differ by some images.
    """
    count, parts = len(holds), range(len(fractions))
    room = _sizes(count, fractions)
    rng = np.random.default_rng(derive(seed, "split"))
    waiting = rng.permutation(count).tolist()
    left = Counter(name for names in holds for name in names)
    lack: dict[int | None, list[float]] = {
        None: [float(size) for size in room]
    }  # None: images without any class left
    lack |= {name: [left[name] * fraction for fraction in fractions] for name in sorted(left)}
    chosen = [0] * count
    while waiting:
        rarest = min((name for name in left if left[name]), key=lambda name: (left[name], name), default=None)
        dealt = waiting if rarest is None else [image for image in waiting if rarest in holds[image]]
        for image in dealt:
            part = max(parts, key=lambda part: (room[part] > 0, lack[rarest][part], room[part], -part))
            chosen[image] = part
            room[part] -= 1
            lack[None][part] -= 1
            for name in holds[image]:
                lack[name][part] -= 1
                left[name] -= 1
        taken = set(dealt)
        waiting = [image for image in waiting if image not in taken]
    return chosen


def _sizes(count: int, fractions: Sequence[float]) -> list[int]:
    """Images of each part, by the largest remainder; at least one where a fraction is not 0."""
    exact = [count * fraction for fraction in fractions]
    sizes = [max(int(size), 1 if size else 0) for size in exact]
    while sum(sizes) != count:
        step = 1 if sum(sizes) < count else -1
        open_parts = [part for part, size in enumerate(sizes) if exact[part] and size + step > 0]
        if not open_parts:
            raise ConfigError(
                f"dataset.split={list(fractions)} makes {sum(map(bool, fractions))} parts of {count} images; give "
                "more images, or 0 for a part"
            )
        part = max(open_parts, key=lambda part: step * (exact[part] - sizes[part]))
        sizes[part] += step
    return sizes


def sliced(
    train: tuple[Pair, ...], fraction: float, seed: int
) -> tuple[tuple[Pair, ...], tuple[Pair, ...] | None]:
    """(what is left to train on, what chooses the epoch), each in the order given; no class is looked at.

    Args:
        train: All that could be trained on.
        fraction: Of them that chooses the epoch; 0: nothing does.
        seed: Decides which.

    Raises:
        ConfigError: Nothing is left to train on.
    """
    count = math.ceil(fraction * len(train))
    if count == 0:
        return train, None
    if count == len(train):
        raise ConfigError(
            f"dataset.select_fraction={fraction} of {len(train)} training images leaves none to train on; "
            "lower it, raise dataset.limit, or set it to 0"
        )
    chosen = set(np.random.default_rng(derive(seed, "select")).permutation(len(train))[:count].tolist())
    fit = tuple(pair for i, pair in enumerate(train) if i not in chosen)
    return fit, tuple(pair for i, pair in enumerate(train) if i in chosen)
