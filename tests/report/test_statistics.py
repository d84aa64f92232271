import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from segprune.measure.miou import segmentation_metrics
from segprune.report.statistics import (
    Scatter,
    expanded_percentiles,
    fewest_images,
    image_difference,
    over_seeds,
    rank_stability,
    scatter_of,
    seed_difference,
)
from tests.report.sweeps import counts


def table(values: dict[int, float], method: str = "l1") -> pd.DataFrame:
    keys = {"setting": "s", "option": "macs", "method": method, "ratio_asked": 0.3, "stage": "finetuned"}
    return pd.DataFrame([{**keys, "seed": seed, "miou_percent": value} for seed, value in values.items()])


def test_mean_sd_and_interval_over_seeds() -> None:
    # sd of 1, 2, 3 is 1; the 97.5 % quantile of t with 2 degrees of freedom is 4.302653; half = 4.302653 / sqrt(3)
    (line,) = over_seeds(table({0: 1.0, 1: 2.0, 2: 3.0})).to_dict("records")
    assert (line["method"], line["ratio_asked"], line["stage"], line["n"]) == ("l1", 0.3, "finetuned", 3)
    assert (line["mean"], line["sd"]) == (2.0, 1.0)
    assert line["low"] == pytest.approx(2 - 2.484138, abs=1e-6)
    assert line["high"] == pytest.approx(2 + 2.484138, abs=1e-6)


def test_one_seed_has_a_mean_and_nothing_else() -> None:
    (line,) = over_seeds(table({4: 7.0})).to_dict("records")
    assert (line["n"], line["mean"]) == (1, 7.0)
    assert all(math.isnan(line[name]) for name in ("sd", "low", "high"))


def test_equal_seeds_have_an_interval_of_one_point() -> None:
    (line,) = over_seeds(table({0: 7.0, 1: 7.0})).to_dict("records")
    assert (line["low"], line["mean"], line["high"]) == (7.0, 7.0, 7.0)


def test_networks_are_told_apart_by_every_key_and_missing_values_do_not_count() -> None:
    lines = over_seeds(pd.concat([table({0: 1.0, 1: math.nan}), table({0: 5.0}, "taylor")]))
    assert lines[["method", "n", "mean"]].to_numpy().tolist() == [["l1", 1, 1.0], ["taylor", 1, 5.0]]


def test_a_seed_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'seed': 3} occurs twice; a seed counts once"):
        over_seeds(pd.concat([table({3: 1.0}), table({3: 1.0})]))


def test_paired_interval_over_seeds() -> None:
    # differences 2 and 1: mean 1.5, sd sqrt(1/2), half = 12.706205 * sqrt(1/2) / sqrt(2) = 6.353102
    found = seed_difference({0: 3.0, 1: 5.0, 9: 0.0}, {0: 1.0, 1: 4.0})
    assert (found.points, found.n, found.over, found.per_seed) == (1.5, 2, "seeds", (2.0, 1.0))
    assert found.low == pytest.approx(1.5 - 6.353102, abs=1e-6)
    assert found.high == pytest.approx(1.5 + 6.353102, abs=1e-6)
    assert not found.is_clear


def test_an_interval_over_one_shared_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the shared seeds are \[1\]; an interval needs two or more"):
        seed_difference({0: 3.0, 1: 5.0}, {1: 4.0, 2: 4.0})


def test_the_difference_is_that_of_the_pooled_mious() -> None:
    rng = np.random.default_rng(0)
    a, b = counts(rng.integers(0, 101, 9)), counts(rng.integers(0, 101, 9))
    ours, theirs = (segmentation_metrics(torch.from_numpy(x.astype(np.int64)).sum(0)).miou for x in (a, b))
    assert image_difference([a], [b]).points == pytest.approx(100 * (ours - theirs), abs=1e-12)


def test_eight_images_by_hand() -> None:
    # Each class has 100 pixels an image and as many false positives as false negatives: IoU = h / (200 - h) for
    # h hits a hundred. a hits 100 in one image and 50 in seven, b 50 everywhere: k draws of the one image give a
    # 50 + 50 k / 8. k is binomial (8, 1/8); at 95 % and 7 degrees of freedom t = 2.364624, so each end cuts off
    # Phi(-sqrt(8 / 7) 2.364624) = 0.0057: k = 0 (0.34) and k = 4 (at most 3: 0.9887, at most 4: 0.9988). The plain
    # percentile, 0.975, would be at k = 3.
    found = image_difference([counts([100, *[50] * 7])], [counts([50] * 8)])
    assert found.points == pytest.approx(100 * (56.25 / 143.75 - 50 / 150))
    assert (found.low, found.high) == (0.0, pytest.approx(100 * (75 / 125 - 50 / 150)))
    assert found.share_positive == pytest.approx(1 - (7 / 8) ** 8, abs=0.03)  # 4 sd of a share of 4000
    assert (found.n, found.over) == (8, "images")
    assert not found.is_clear


@pytest.mark.parametrize(("images", "level"), [(1, 0.95), (2, 0.9), (5, 0.95), (9, 1 - 0.05 / 14)])
def test_too_few_images_have_a_difference_and_no_interval(images: int, level: float) -> None:
    a, b = counts([80, *[60] * (images - 1)]), counts([50] * images)
    found = image_difference([a, a], [b, b], level=level)
    assert (found.low, found.high, found.n, found.over) == (None, None, images, "images")
    assert found.points > 0
    assert found.seeds_low == found.points  # both seeds say the same
    assert not found.is_clear
    assert image_difference([np.concatenate([a, a[:1]])], [np.concatenate([b, b[:1]])], level=0.5).n > images


def test_there_is_an_interval_from_the_fewest_images_on() -> None:
    # the least n with 2^(1 - n) at most 1 - level: of 0.95, 1/32 < 0.05 < 1/16
    assert [fewest_images(level) for level in (0.5, 0.9, 0.95, 0.975, 1 - 0.05 / 14)] == [2, 5, 6, 7, 10]


def test_the_ends_of_an_interval_rest_on_several_draws() -> None:
    # at 1 - 0.05 / 14 of 20 images, 4000 draws would leave one beyond each end; of draws 0, 1, 2, ... the ends are
    # known: t = 3.3190 of 19 degrees of freedom, Phi(-sqrt(20 / 19) 3.3190) = 0.000330
    low, high = expanded_percentiles(np.arange(100_001.0), images=20, level=1 - 0.05 / 14)
    assert (low, high) == (pytest.approx(33.0, abs=0.5), pytest.approx(100_000 - 33.0, abs=0.5))


def test_equal_networks_differ_by_exactly_nothing() -> None:
    a = counts([3, 97, 55, 41, 20, 76])
    found = image_difference([a, a], [a, a])
    assert (found.points, found.low, found.high, found.share_positive) == (0.0, 0.0, 0.0, 0.0)
    assert not found.is_clear


def test_a_network_that_is_better_on_every_image_is_better() -> None:
    a, b = counts([50, 60, 70, 80, 55, 65]), counts([45, 52, 69, 71, 50, 61])
    assert image_difference([a, a], [b, b]).is_clear
    assert not image_difference([b, b], [a, a]).is_clear
    assert image_difference([a], [b]).share_positive == 1.0


def test_one_seed_tells_about_networks_and_nothing_about_methods() -> None:
    found = image_difference([counts([50, 60, 70, 80, 55, 65])], [counts([45, 52, 69, 71, 50, 61])])
    assert found.low > 0
    assert (found.seeds_low, found.seeds_high) == (None, None)
    assert not found.is_clear


def test_the_interval_over_seeds_stands_beside_that_over_images() -> None:
    a = [counts([80, 60]), counts([70, 75])]
    b = [counts([50, 60]), counts([40, 35])]
    found = image_difference(a, b, level=0.9)
    one, other = found.per_seed
    expected = seed_difference({0: one, 1: other}, {0: 0.0, 1: 0.0}, level=0.9)
    assert (found.seeds_low, found.seeds_high) == (expected.low, expected.high)
    assert (expected.seeds_low, expected.seeds_high) == (expected.low, expected.high)


def test_equal_methods_are_rarely_told_apart_however_many_images_there_are() -> None:
    # Two networks of one method differ by the luck of their training, for which the seeds stand. On 200 images
    # that luck is plain to see, so the interval over images alone finds a "better" one most of the time.
    rng, images_say_so, clear, sims = np.random.default_rng(0), 0, 0, 100
    for _ in range(sims):
        skill = rng.normal(60, 3, (2, 3))  # two methods, three seeds
        hits = np.rint(skill[..., None] + rng.integers(-10, 11, 200)).clip(0, 100)
        a, b = ([counts(seed) for seed in method.astype(int)] for method in hits)
        for found in (image_difference(a, b, resamples=100), image_difference(b, a, resamples=100)):
            images_say_so += found.low > 0
            clear += found.is_clear
    assert images_say_so > sims / 2
    assert clear <= stats.binom.ppf(0.999, sims, 0.05)


def test_the_scatter_of_two_methods_is_that_of_their_difference() -> None:
    miou = np.array([[50.0, 54.0, 49.0], [47.0, 52.0, 51.0]])
    found = scatter_of(miou)
    assert (found.variance, found.freedom) == (pytest.approx((miou[0] - miou[1]).var(ddof=1)), 2)


def test_the_scatter_of_all_methods_is_the_error_of_methods_and_seeds() -> None:
    # rows 1 2 / 3 2 / 2 5: means of rows 1.5, 2.5, 3.5, of columns 2, 3, of all 2.5; left over +-0, +-1, +-1
    found = scatter_of(np.array([[1.0, 2.0], [3.0, 2.0], [2.0, 5.0]]))
    assert (found.variance, found.freedom) == (pytest.approx(2 * 4 / 2), 2)
    told = seed_difference({0: 2.0, 1: 5.0}, {0: 1.0, 1: 2.0}, level=0.9, scatter=found)
    # variance 4 of a difference, two seeds, t = 2.919986 at 90 % and two degrees of freedom
    assert (told.points, told.high - told.points) == (2.0, pytest.approx(2.919986 * (4 / 2) ** 0.5, abs=1e-5))


@pytest.mark.parametrize(("own", "used"), [((1.0, 7.0), 18.0), ((3.0, 5.0), 8.0)])
def test_the_larger_scatter_of_the_pool_and_of_the_two_counts(own: tuple[float, float], used: float) -> None:
    # differences 1 and 7: variance (9 + 9) / 1 = 18, above the pool's 8; 3 and 5: 2, below it. Two seeds, and
    # t = 2.776445 at 95 % and the pool's four degrees of freedom
    pool = Scatter(variance=8.0, freedom=4)
    told = seed_difference(dict(enumerate(own)), {0: 0.0, 1: 0.0}, scatter=pool)
    assert (told.points, told.high - told.points) == (
        4.0,
        pytest.approx(2.776445 * (used / 2) ** 0.5, abs=1e-5),
    )


def test_a_method_that_scatters_ten_times_as_much_as_the_others_rarely_wins_by_luck() -> None:
    rng, sims = np.random.default_rng(0), 400
    noise = np.array([3.0, *[0.3] * 15])[:, None]  # sixteen equal methods, five seeds
    won = sum(is_won(rng.normal(0, 1, (16, 5)) * noise) for _ in range(sims))
    assert won <= stats.binom.ppf(0.999, sims, 0.05)


@pytest.mark.parametrize("noise", [[1.0] * 6, [3.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
def test_many_methods_rarely_make_a_winner_by_luck_and_tell_a_real_one(noise: list[float]) -> None:
    # six methods, three seeds that move all of them; the best is compared with each at its share of 5 %
    rng, lucky, told, sims = np.random.default_rng(2), 0, 0, 300
    for _ in range(sims):
        miou = rng.normal(60, 2, 3) + rng.normal(0, 1, (6, 3)) * np.array(noise)[:, None]
        lucky += is_won(miou)
        miou[5] += 5
        told += is_won(miou)
    assert lucky <= stats.binom.ppf(0.999, sims, 0.05)
    assert noise[0] > 1 or told > sims / 2  # with intervals from each pair alone: one in seven


def is_won(miou: np.ndarray) -> bool:
    order, scatter = miou.mean(axis=1).argsort()[::-1], scatter_of(miou)
    best, *others = (dict(enumerate(miou[index])) for index in order)
    level = 1 - 0.05 / len(others)
    return all(seed_difference(best, one, level=level, scatter=scatter).is_clear for one in others)


def test_one_seed_that_disagrees_leaves_doubt() -> None:
    high, low, less = (counts([h, h + 1, h + 2] * 2) for h in (90, 20, 18))
    found = image_difference([high, less], [low, low])
    assert found.low > 0
    assert found.per_seed[1] < 0
    assert not found.is_clear


def test_seeds_see_the_same_images_in_a_draw() -> None:
    # What the first seed gains on a draw, the second loses on it; with draws of their own they would not cancel.
    a, b = counts([80, 20, 60, 55, 44, 70]), counts([30, 70, 50, 65, 48, 41])
    found = image_difference([a, b], [b, a])
    assert (found.low, found.high) == (0.0, 0.0)


def test_a_class_that_a_draw_lacks_is_left_out_of_it() -> None:
    # Two classes; the second is labelled in the last of six images alone. a is right everywhere, b predicts the
    # first class everywhere. With k draws of the last image, b has (6 - k) / 6 and 0: the difference is
    # 1 - (6 - k) / 12, but 0 for k = 0, where the first class stands alone. k is binomial (6, 1/6): at most 0:
    # 0.335, at most 2: 0.938, at most 3: 0.991. At 90 % each end cuts off Phi(-sqrt(6 / 5) 2.015) = 0.0136.
    a = np.array([[[10, 0], [0, 0]]] * 5 + [[[0, 0], [0, 10]]])
    b = np.array([[[10, 0], [0, 0]]] * 5 + [[[0, 0], [10, 0]]])
    found = image_difference([a], [b], level=0.9)
    assert found.points == pytest.approx(100 * (1 - 5 / 12))
    assert (found.low, found.high) == (0.0, pytest.approx(75.0))


def test_the_interval_is_that_of_another_library() -> None:
    rng = np.random.default_rng(1)
    hits = rng.integers(30, 90, 40)
    a, b = counts(hits), counts(np.clip(hits - rng.integers(-8, 12, 40), 0, 100))

    def change(index: np.ndarray) -> float:
        ours, theirs = (
            100 * segmentation_metrics(torch.from_numpy(x[index].astype(np.int64)).sum(0)).miou
            for x in (a, b)
        )
        return ours - theirs

    tail = stats.norm.cdf(-((40 / 39) ** 0.5) * stats.t.ppf(0.975, 39))
    other = stats.bootstrap(
        (np.arange(40),),
        change,
        confidence_level=1 - 2 * tail,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=2,
    ).confidence_interval
    found = image_difference([a], [b])
    # ends of a percentile interval from 2000 draws are sure to about a tenth of its width
    assert found.low == pytest.approx(other.low, abs=0.1 * (other.high - other.low))
    assert found.high == pytest.approx(other.high, abs=0.1 * (other.high - other.low))


@pytest.mark.parametrize("images", [10, 20, 40])
def test_few_images_are_covered_as_well_as_many(images: int) -> None:
    # One class, whose area differs from image to image; a hits 60 % of it on average, b 56 %, and as many pixels
    # elsewhere as they miss: pooled over infinitely many images, the IoUs are 0.6 / 1.4 and 0.56 / 1.44.
    rng, sims, bounds = np.random.default_rng(0), 8000, (0.935, 0.965)
    area = rng.gamma(4.0, 1.0, (sims, images))
    ours, theirs = area * rng.beta(6, 4, area.shape), area * rng.beta(5.6, 4.4, area.shape)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=1500).astype(np.float32)  # (B, N)
    a, b, pixels = (value.astype(np.float32) @ weights.T for value in (ours, theirs, area))  # (sims, B)
    draws = a / (2 * pixels - a) - b / (2 * pixels - b)
    truth = 0.6 / 1.4 - 0.56 / 1.44

    def coverage(low: np.ndarray, high: np.ndarray) -> float:
        return float(((low <= truth) & (truth <= high)).mean())

    assert bounds[0] < coverage(*expanded_percentiles(draws, images=images, level=0.95)) < bounds[1]
    assert coverage(*np.quantile(draws, [0.025, 0.975], axis=1)) < bounds[0]  # the plain percentile


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # Images have a difficulty d in [0, 20]; a hits 70 - d + noise, b 66 - d + noise of a hundred. Pooled over
    # infinitely many images, the hits are 60 and 56: IoU 60 / 140 and 56 / 144.
    truth = 100 * (60 / 140 - 56 / 144)
    rng, inside, sims = np.random.default_rng(3), 0, 200
    for _ in range(sims):
        difficulty = rng.integers(0, 21, 20)
        noise = rng.integers(-10, 11, (2, 20))
        a, b = counts(70 - difficulty + noise[0]), counts(66 - difficulty + noise[1])
        found = image_difference([a], [b], resamples=1000, seed=int(rng.integers(1 << 30)))
        inside += found.low <= truth <= found.high
    low, high = stats.binom.interval(0.999, sims, 0.95)
    assert low <= inside <= high


def test_the_same_seed_gives_the_same_interval() -> None:
    a, b = counts([80, 20, 60, 55, 44, 70]), counts([30, 70, 50, 65, 48, 41])
    assert image_difference([a], [b], seed=5) == image_difference([a], [b], seed=5)
    assert image_difference([a], [b], seed=5) != image_difference([a], [b], seed=6)


def test_counts_of_other_images_are_refused() -> None:
    a, swapped = counts([80, 20]), counts([80, 20])
    swapped[0] *= 2
    with pytest.raises(ValueError, match="not of the same report images in the same order"):
        image_difference([a], [swapped])
    with pytest.raises(ValueError, match="not of the same report images in the same order"):
        image_difference([a], [counts([80, 20, 5])])


def test_unpaired_networks_and_void_splits_are_refused() -> None:
    a = counts([80, 20])
    with pytest.raises(ValueError, match="2 and 1 networks cannot be paired"):
        image_difference([a, a], [a])
    with pytest.raises(ValueError, match="0 and 0 networks cannot be paired"):
        image_difference([], [])
    with pytest.raises(ValueError, match="no pixel of the report images is labelled"):
        image_difference([0 * a], [0 * a])


def test_rank_stability_counts_pairs_in_order() -> None:
    # a > b > c against a > c > b: of three pairs two agree, one does not: (2 - 1) / 3
    means = pd.DataFrame(
        {"0.3": [9.0, 8.0, 7.0, 6.0], "0.5": [5.0, 3.0, 4.0, math.nan], "0.7": [1.0, 2.0, 3.0, math.nan]},
        index=["a", "b", "c", "d"],
    )
    found = rank_stability(means)
    assert found[["first", "second", "methods"]].to_numpy().tolist() == [
        ["0.3", "0.5", 3],
        ["0.3", "0.7", 3],
        ["0.5", "0.7", 3],
    ]
    # 0.5: a > c > b against c > b > a: of three pairs one agrees
    assert found["tau"].tolist() == pytest.approx([1 / 3, -1.0, -1 / 3])


def test_the_order_of_two_methods_says_nothing() -> None:
    (line,) = rank_stability(pd.DataFrame({"0.3": [1.0, 2.0], "0.5": [1.0, 2.0]})).to_dict("records")
    assert line["methods"] == 2
    assert math.isnan(line["tau"])
    assert rank_stability(pd.DataFrame({"0.3": [1.0, 2.0]})).empty
