import itertools

import numpy as np
import pytest
import torch

from segprune.graph.group import Scores
from segprune.measure.agreement import Channel, Values, agreement, lowest, values_of

ORACLE = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])
CRITERION = torch.tensor([3.0, 1.0, 6.0, 2.0, 5.0, 4.0])
SIX: tuple[Channel, ...] = tuple(("layer", channel) for channel in range(6))

# Two layers of 4 and 2. Locally, half of each: the oracle takes a0 a1 and b1, the criterion a0 a2 and b1.
# Globally, the lowest three: the oracle takes a0 a1 a2, the criterion b1 b0 a0.
PAIR: tuple[Channel, ...] = (*(("a", channel) for channel in range(4)), ("b", 0), ("b", 1))
PAIR_CHANGES = np.array([0.1, -0.2, 0.3, 0.9, 0.8, 0.7])
PAIR_SCORES: Scores = {"a": torch.tensor([3.0, 5.0, 4.0, 6.0]), "b": torch.tensor([2.0, 1.0])}


def precision(scores: torch.Tensor, changes: Values, ratio: float = 0.5) -> float | None:
    return agreement({"layer": scores}, changes, SIX, ratio, "local").precision_at_k


def test_the_worked_example() -> None:
    # O = {1, 3, 4}, A = {0, 1, 3}: 2/3; random: 3/6; gain (2/3 - 1/2) / (1/2) = 1/3.
    # Ranks differ by 2, 0, 2, 0, 2, 2: rho = 1 - 6 * 16 / (6 * 35) = 19/35.
    found = agreement({"layer": CRITERION}, ORACLE, SIX, 0.5, "local")
    assert found.k == 3
    assert found.precision_at_k == pytest.approx(2 / 3)
    assert found.expected_precision == pytest.approx(1 / 2)
    assert found.precision_gain == pytest.approx(1 / 3)
    assert found.spearman == pytest.approx(19 / 35)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_oracle_agrees_with_itself_and_not_with_its_reverse(scope: str) -> None:
    same = agreement({"layer": torch.tensor(ORACLE)}, ORACLE, SIX, 0.5, scope)
    assert (same.precision_at_k, same.precision_gain, same.spearman) == (1.0, 1.0, pytest.approx(1.0))
    reverse = agreement({"layer": torch.tensor(-ORACLE)}, ORACLE, SIX, 0.5, scope)
    assert (reverse.precision_at_k, reverse.precision_gain, reverse.spearman) == (
        0.0,
        -1.0,
        pytest.approx(-1.0),
    )


def test_only_the_order_of_the_scores_counts() -> None:
    first = agreement({"layer": CRITERION}, ORACLE, SIX, 0.5, "global")
    assert agreement({"layer": CRITERION.exp() - 7}, ORACLE, SIX, 0.5, "global") == first


def test_a_loss_that_falls_counts_as_much_as_one_that_rises() -> None:
    signs = np.array([1.0, -1.0, -1.0, 1.0, -1.0, 1.0])
    scores = {"layer": CRITERION}
    assert agreement(scores, signs * ORACLE, SIX, 0.5, "local") == agreement(
        scores, ORACLE, SIX, 0.5, "local"
    )


def test_locally_counts_add_up_and_correlations_are_weighted() -> None:
    # a: ranks of |change| 1 2 3 4, of scores 1 3 2 4: rho = 1 - 6 * 2 / (4 * 15) = 0.8, weight 4; b: 1, weight 2.
    found = agreement(PAIR_SCORES, PAIR_CHANGES, PAIR, 0.5, "local")
    assert found.k == 3
    assert found.precision_at_k == pytest.approx((1 + 1) / 3)
    assert found.expected_precision == pytest.approx((2 * 2 / 4 + 1 * 1 / 2) / 3)
    assert found.spearman == pytest.approx((4 * 0.8 + 2 * 1.0) / 6)


def test_globally_all_channels_are_ranked_together() -> None:
    # Ranks of |change|: 1 2 3 6 5 4, of scores: 3 5 4 6 2 1; squared differences 4 9 1 0 9 9 = 32.
    found = agreement(PAIR_SCORES, PAIR_CHANGES, PAIR, 0.5, "global")
    assert found.k == 3
    assert found.precision_at_k == pytest.approx(1 / 3)
    assert found.expected_precision == pytest.approx(1 / 2)
    assert found.spearman == pytest.approx(1 - 6 * 32 / (6 * 35))


@pytest.mark.parametrize("scope", ["local", "global"])
def test_expected_precision_is_the_mean_over_all_orders_of_the_scores(scope: str) -> None:
    for ratio in (0.3, 0.5):
        best = set(lowest(np.abs(PAIR_CHANGES), PAIR, ratio, scope))
        orders = [np.array(order, dtype=float) for order in itertools.permutations(range(6))]
        hits = [len(best & set(lowest(order, PAIR, ratio, scope))) for order in orders]
        found = agreement(PAIR_SCORES, PAIR_CHANGES, PAIR, ratio, scope)
        assert found.expected_precision == pytest.approx(np.mean(hits) / len(best))


def test_ties_are_settled_by_the_order_of_the_units() -> None:
    assert lowest(np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]), SIX, 0.5, "local") == (0, 1, 4)
    many: tuple[Channel, ...] = tuple(("layer", channel) for channel in range(100))
    values = np.random.default_rng(0).integers(2, size=100).astype(float)  # more than 20 zeros
    assert lowest(values, many, 0.2, "global") == tuple(np.flatnonzero(values == 0)[:20].tolist())
    assert precision(torch.ones(6), np.arange(6.0)) == 1.0


def test_numbers_are_rounded_for_each_ranking() -> None:
    values = values_of(PAIR_SCORES, PAIR)
    assert lowest(values, PAIR, 0.3, "local") == (0, 5)  # round(1.2) of a, round(0.6) of b
    assert lowest(values, PAIR, 0.3, "global") == (4, 5)  # round(1.8) of all


def test_what_is_not_defined_is_none() -> None:
    nothing = agreement({"layer": CRITERION}, ORACLE, SIX, 0.0, "local")
    assert (nothing.k, nothing.precision_at_k, nothing.expected_precision, nothing.precision_gain) == (
        0,
        None,
        None,
        None,
    )
    everything = agreement({"layer": CRITERION}, ORACLE, SIX, 1.0, "local")
    assert (everything.precision_at_k, everything.precision_gain) == (1.0, None)
    assert agreement({"layer": torch.ones(6)}, ORACLE, SIX, 0.5, "global").spearman is None
    assert agreement({"layer": CRITERION}, np.zeros(6), SIX, 0.5, "local").spearman is None
    single = agreement({"layer": CRITERION}, ORACLE[:1], SIX[:1], 0.5, "local")
    assert (single.k, single.spearman) == (0, None)


def test_a_group_without_a_correlation_does_not_dilute_the_mean() -> None:
    scores = {**PAIR_SCORES, "b": torch.ones(2)}
    assert agreement(scores, PAIR_CHANGES, PAIR, 0.5, "local").spearman == pytest.approx(0.8)
