"""How sure a difference between networks is: intervals over seeds and over report images, rank stability."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
RESAMPLES = 4000
MOST_RESAMPLES = 100_000
_BEYOND = 10  # draws outside each end of an interval, so that the end is not decided by one or two of them
KEYS = ("setting", "option", "method", "ratio_asked", "stage")
_CHUNK = 500  # resamples at once: (500, N) weights stay small for splits of thousands of images

Floats = NDArray[np.float64]
Counts = NDArray[Any]
"""(N, K, K) integer: per report image, true classes by predicted classes."""


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """How the difference of two methods scatters from seed to seed.

    Attributes:
        variance: Of the difference in one seed, in squared percent points.
        freedom: Degrees of freedom of the variance.
    """

    variance: float
    freedom: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much higher one method's mIoU is than another's.

    Attributes:
        points: mIoU of the first minus mIoU of the second, in percent points, averaged over the common seeds.
        low: Lower end of the interval; None where there are too few images for one.
        high: Its upper end.
        level: Confidence of the interval.
        over: What was resampled: report ``images`` with the trained networks as they are, or training ``seeds``.
        n: Number of images or seeds.
        per_seed: The difference in each seed.
        seeds_low: Lower end of the paired t-interval over the seeds, of the same level; None for one seed.
        seeds_high: Its upper end.
        share_positive: Share of resamples with a difference above 0; None for an interval over seeds.
    """

    points: float
    low: float | None
    high: float | None
    level: float
    over: Literal["images", "seeds"]
    n: int
    per_seed: tuple[float, ...]
    seeds_low: float | None
    seeds_high: float | None
    share_positive: float | None

    @property
    def is_clear(self) -> bool:
        """Whether the first is better: on other images of the kind, and trained again with other seeds.

        Both intervals have to say so. The one over images takes the networks as they are, and two equal methods
        are never equal networks: on many images it would call the luckier one better.
        """
        return self.low is not None and self.low > 0 and self.seeds_low is not None and self.seeds_low > 0


def over_seeds(
    rows: pd.DataFrame, value: str = "miou_percent", *, by: Sequence[str] = KEYS, level: float = LEVEL
) -> pd.DataFrame:
    """Mean, standard deviation and t-based interval of a column over seeds.

    Args:
        rows: One row per ``by`` and ``seed``.
        value: The column; missing values do not count.
        by: Columns that, with the seed, identify a network.
        level: Confidence of the interval of the mean.

    Returns:
        Columns ``by``, ``n``, ``mean``, ``sd``, ``low``, ``high``; the last three are nan for a single seed.

    Raises:
        ValueError: A seed occurs twice, so that its rows are not independent or not of the same experiment.
    """
    keys = [*by, "seed"]
    twice = rows.duplicated(keys)
    if twice.any():
        raise ValueError(f"{rows.loc[twice, keys].iloc[0].to_dict()} occurs twice; a seed counts once")
    table = rows.groupby(list(by), dropna=False)[value].agg(n="count", mean="mean", sd="std").reset_index()
    n = table["n"].to_numpy()
    half = _half_width(table["sd"].to_numpy(), n, n - 1, level)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def scatter_of(miou: Floats) -> Scatter:
    """Scatter of the difference of any two methods, from (M, S) mIoU in percent of M >= 2 methods, S >= 2 seeds.

    The error of the additive model of methods and seeds (randomised blocks): what is left of the values without
    the means of methods and seeds. With two methods that is the paired t-test; more methods give more degrees of
    freedom, at the price of taking the seeds to scatter all methods alike: ``_t_interval`` does not trust it for
    two methods that scatter more.
    """
    methods, seeds = miou.shape
    left = miou - miou.mean(axis=0) - miou.mean(axis=1, keepdims=True) + miou.mean()
    freedom = (methods - 1) * (seeds - 1)
    return Scatter(variance=2 * float(np.square(left).sum()) / freedom, freedom=freedom)


def seed_difference(
    a: Mapping[int, float], b: Mapping[int, float], *, level: float = LEVEL, scatter: Scatter | None = None
) -> Difference:
    """Paired t-interval of the difference of two methods over the seeds they share.

    Args:
        a: Seed -> mIoU in percent.
        b: Likewise.
        level: Confidence of the interval.
        scatter: Of the seeds, estimated from more methods than these two, for ``_t_interval``; None: from these
            two.

    Raises:
        ValueError: They share fewer than two seeds, so that their spread is unknown.
    """
    shared = sorted(a.keys() & b.keys())
    if len(shared) < 2:
        raise ValueError(f"the shared seeds are {shared}; an interval needs two or more")
    change = np.array([a[seed] - b[seed] for seed in shared])
    low, high = _t_interval(change, level, scatter)
    return Difference(
        points=float(change.mean()),
        low=low,
        high=high,
        level=level,
        over="seeds",
        n=len(shared),
        per_seed=tuple(change.tolist()),
        seeds_low=low,
        seeds_high=high,
        share_positive=None,
    )


def image_difference(
    a: Sequence[Counts],
    b: Sequence[Counts],
    *,
    level: float = LEVEL,
    scatter: Scatter | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap over report images of the mIoU difference of two methods.

    Images are drawn with replacement, the same for both methods and all seeds, since all networks saw the same
    ones. Each draw pools the counts, computes mIoU as ``measure.miou`` does, and averages the differences over
    the seeds. A class without a labelled pixel in a draw is left out of it for both. The interval is that of
    ``expanded_percentiles``. It tells how these networks would
    differ on other images; how other networks would differ is in the interval over seeds.

    Args:
        a: Per seed, (N, K, K) counts of the report images.
        b: Likewise, of the same seeds and images in the same order.
        level: Confidence of the intervals.
        scatter: As in ``seed_difference``.
        resamples: Fewest draws; more are made where the ends of the interval lie further out, up to
            ``MOST_RESAMPLES``.
        seed: Of the draws.

    Raises:
        ValueError: The counts are not of the same images, or no pixel is labelled.
    """
    if not a or len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} networks cannot be paired; give one of each for every seed")
    labels = np.asarray(a[0]).sum(axis=2)  # (N, K)
    for counts in (*a, *b):
        if counts.shape != a[0].shape or not np.array_equal(np.asarray(counts).sum(axis=2), labels):
            raise ValueError("the counts are not of the same report images in the same order")
    if not labels.any():
        raise ValueError("no pixel of the report images is labelled with a class")
    images = len(labels)
    sums = np.stack(
        [np.stack([_sums(x), _sums(y)], 1) for x, y in zip(a, b, strict=True)], 1
    )  # (N, S, 2, 3, K)
    needed = _BEYOND / max(_tail(images, level), _BEYOND / MOST_RESAMPLES)
    draws = max(resamples, math.ceil(needed))
    rng, drawn = np.random.default_rng(seed), []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), size=size).astype(np.float64)  # (B, N)
        # whole numbers below 2^53, so that equal networks differ by exactly 0 in every draw
        pooled = (weights @ sums.reshape(images, -1)).reshape(size, *sums.shape[1:])
        drawn.append(_changes(pooled).mean(axis=-1))
    changes = np.concatenate(drawn)
    ends = expanded_percentiles(changes, images=images, level=level)
    low, high = (None, None) if ends is None else map(float, ends)
    per_seed = _changes(sums.sum(axis=0))
    seeds: tuple[float, float] | tuple[None, None] = (
        _t_interval(per_seed, level, scatter) if len(per_seed) > 1 else (None, None)
    )
    return Difference(
        points=float(per_seed.mean()),
        low=low,
        high=high,
        level=level,
        over="images",
        n=images,
        per_seed=tuple(per_seed.tolist()),
        seeds_low=seeds[0],
        seeds_high=seeds[1],
        share_positive=float((changes > 0).mean()),
    )


def expanded_percentiles(draws: Floats, *, images: int, level: float) -> Floats | None:
    """The interval of a bootstrap over images that is as wide for few images as it has to be.

    The plain percentile interval is too narrow by about the factor that the normal quantile lacks to the t
    quantile, and by the root of (n - 1) / n: at 95 % and 10 images it holds the truth 90 times in a hundred. So
    the share cut off at each end is Phi(-sqrt(n / (n - 1)) t), where t is the quantile of n - 1 degrees of
    freedom that the level asks for.

    No bootstrap reaches beyond the extremes of what was measured, and between the extremes of n values their
    median lies in 1 - 2^(1 - n) of all samples. Below the n at which that is the level there is no interval: at
    95 % below six images.

    Source: Hesterberg 2015, arXiv:1411.5279, section 5.3, the expanded percentile interval.

    Args:
        draws: (..., B), the statistic in each of B resamples.
        images: n, how many images were resampled.
        level: Confidence of the interval.

    Returns:
        (2, ...) lower and upper ends; None where there are too few images for an interval of that level.
    """
    if images < fewest_images(level):
        return None
    tail = _tail(images, level)
    ends: Floats = np.quantile(draws, [tail, 1 - tail], axis=-1)
    return ends


def fewest_images(level: float) -> int:
    """From how many report images on there is an interval of a level; see ``expanded_percentiles``."""
    return math.ceil(1 - math.log2(1 - level))


def rank_stability(means: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau-b of the methods' order between every two budgets: 1 the same order, -1 the reverse.

    Args:
        means: Index: method; columns: budget; mIoU, nan where a method has none.

    Returns:
        Columns ``first``, ``second``, ``methods`` (that have both) and ``tau``, nan below three methods: the order
        of two is a coin flip.
    """
    pairs = []
    for first, second in itertools.combinations(means.columns, 2):
        both = means[[first, second]].dropna()
        tau = stats.kendalltau(both[first], both[second]).statistic if len(both) > 2 else np.nan
        pairs.append({"first": first, "second": second, "methods": len(both), "tau": float(tau)})
    return pd.DataFrame(pairs, columns=["first", "second", "methods", "tau"])


def _t_interval(changes: Floats, level: float, scatter: Scatter | None) -> tuple[float, float]:
    """Ends of the t-interval of the mean of two or more differences.

    The variance is the larger one of ``scatter`` and of the differences themselves, with the degrees of freedom of
    ``scatter``. With that of ``scatter`` alone, one method whose seeds scatter ten times as much as all others' is
    named a winner in 5 to 13 % of sweeps of equal methods; with the larger one in up to 4 %.
    """
    count, own = len(changes), float(changes.var(ddof=1))
    spread = scatter or Scatter(variance=own, freedom=count - 1)
    sd = max(spread.variance, own) ** 0.5
    mean, half = float(changes.mean()), float(_half_width(sd, count, spread.freedom, level))
    return mean - half, mean + half


def _half_width(sd: Any, n: Any, freedom: Any, level: float) -> Any:
    """Half of the t-interval of a mean; nan without a degree of freedom."""
    return stats.t.ppf((1 + level) / 2, freedom) * sd / np.sqrt(n)


def _tail(images: int, level: float) -> float:
    """Share of the draws that an expanded percentile interval cuts off at each end; 0 for a single image."""
    if images < 2:
        return 0.0
    quantile = stats.t.ppf((1 + level) / 2, images - 1)
    return float(stats.norm.cdf(-math.sqrt(images / (images - 1)) * quantile))


def _sums(counts: Counts) -> Floats:
    """(N, K, K) -> (N, 3, K): hits, labelled and predicted pixels of each class."""
    exact = np.asarray(counts, dtype=np.float64)
    return np.stack([np.diagonal(exact, axis1=1, axis2=2), exact.sum(axis=2), exact.sum(axis=1)], axis=1)


def _changes(sums: Floats) -> Floats:
    """(..., S, 2, 3, K) sums -> (..., S) difference of the two mIoUs in points."""
    hits, labelled, predicted = np.moveaxis(sums, -2, 0)  # (..., S, 2, K)
    present = labelled > 0
    iou = np.divide(hits, labelled + predicted - hits, out=np.zeros_like(hits), where=present)
    miou = 100 * iou.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)  # (..., S, 2)
    change: Floats = miou[..., 0] - miou[..., 1]
    return change
