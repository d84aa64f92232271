import numpy as np
import pytest

from segprune.pruner.clique import clique_scores, removal_order


def matrix(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def noise(size: int, seed: int = 0) -> np.ndarray:
    half = np.random.default_rng(seed).random((size, size))
    return (half + half.T) / 2


def summed_anew(similarity: np.ndarray, *, self_term: bool) -> tuple[list[int], list[float]]:
    """The algorithm as written: degrees summed from scratch for every removal, O(C^3)."""
    edges = similarity.copy()
    if not self_term:
        np.fill_diagonal(edges, 0.0)
    left, order, paid = list(range(len(edges))), [], []
    while left:
        degree = [edges[np.ix_([channel], left)].sum() for channel in left]
        order.append(left[int(np.argmax(degree))])
        paid.append(max(degree))
        left.remove(order[-1])
    return order, paid


# (1,1,0,0), (1,1,0,0), (0,0,1,0), (0,0,0,1), each divided by its L1 norm: inner products
DUPLICATES = matrix((0.5, 0.5, 0, 0), (0.5, 0.5, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))


def test_the_worked_example():
    # degrees 6, 8, 4: channel 1 pays 8 and goes; 0 and 2 are left with 1 each, 0 had more at first and pays 1
    order, paid = removal_order(matrix((0, 5, 1), (5, 0, 3), (1, 3, 0)), self_term=False)
    assert order.tolist() == [1, 0, 2]
    assert paid.tolist() == [8, 1, 0]


def test_of_two_duplicates_exactly_one_goes_first():
    assert clique_scores(DUPLICATES, self_term=False, normalize="none").tolist() == [-0.5, 0, 0, 0]


def test_the_official_self_term_makes_the_surviving_duplicate_the_best_channel():
    # degrees 1, 1, 1, 1: 0 pays 1 and takes .5 from 1; then 2 and 3 pay 1 each; 1 pays its self term
    assert clique_scores(DUPLICATES, self_term=True, normalize="none").tolist() == [-1, -0.5, -1, -1]


@pytest.mark.parametrize("self_term", [False, True])
@pytest.mark.parametrize("size", [1, 2, 9, 40])
def test_updated_degrees_equal_degrees_summed_anew(size, self_term):
    order, paid = removal_order(noise(size), self_term=self_term)
    slow_order, slow_paid = summed_anew(noise(size), self_term=self_term)
    # the last two tie without the self term, so either may go first
    assert order[: size - 2].tolist() == slow_order[: size - 2]
    assert paid == pytest.approx(slow_paid)


@pytest.mark.parametrize("self_term", [False, True])
def test_every_edge_is_paid_once(self_term):
    similarity = noise(30)
    _, paid = removal_order(similarity, self_term=self_term)
    edges = similarity[np.triu_indices(30, k=1)].sum() + (similarity.trace() if self_term else 0)
    assert paid.sum() == pytest.approx(edges)


def test_degrees_never_rise():
    _, paid = removal_order(noise(40), self_term=False)
    assert (np.diff(paid) <= 1e-12).all()


def test_ties_go_to_the_first_channel():
    order, _ = removal_order(np.ones((5, 5)), self_term=False)
    assert order.tolist() == [0, 1, 2, 3, 4]


def test_the_last_two_do_not_depend_on_the_order_of_the_channels():
    # after 1 has gone, 0 and 2 have the same degree; 0 had more at first and goes in both orders
    similarity = matrix((0, 5, 1), (5, 0, 3), (1, 3, 0))
    swap = [2, 1, 0]
    order, _ = removal_order(similarity[np.ix_(swap, swap)], self_term=False)
    assert [swap[channel] for channel in order] == [1, 0, 2]


def test_normalised_scores_are_mean_similarities_to_those_left():
    # 8 over 2 others, 1 over 1 other, nothing left
    scores = clique_scores(matrix((0, 5, 1), (5, 0, 3), (1, 3, 0)), self_term=False, normalize="alive")
    assert scores == pytest.approx([-1, -4, 0])


def test_with_the_self_term_the_mean_counts_the_channel_itself():
    # all ones: every degree is the number left, so every mean is 1; each score just above the one before
    scores = clique_scores(np.ones((3, 3)), self_term=True, normalize="alive")
    assert scores == pytest.approx([-1, -1, -1])
    assert scores[0] < scores[1] < scores[2]


def test_a_mean_that_would_rise_along_the_order_is_held():
    # two pairs: 0 pays .6, over 3 others .2; then 2 pays .6, over 2 others .3: below channel 0
    similarity = matrix((0, 0.6, 0, 0), (0.6, 0, 0, 0), (0, 0, 0, 0.6), (0, 0, 0.6, 0))
    order, paid = removal_order(similarity, self_term=False)
    assert order.tolist() == [0, 2, 1, 3]
    assert paid.tolist() == [0.6, 0.6, 0, 0]
    scores = clique_scores(similarity, self_term=False, normalize="alive")
    assert scores == pytest.approx([-0.2, 0, -0.2, 0])
    assert scores[0] < scores[2] < scores[1] < scores[3]


def test_the_score_order_is_the_removal_order():
    similarity = noise(40)
    order, _ = removal_order(similarity, self_term=False)
    for normalize in ("alive", "none"):
        scores = clique_scores(similarity, self_term=False, normalize=normalize)
        assert (np.diff(scores[order]) > 0).all()


def test_no_channel_and_one_channel():
    assert clique_scores(np.zeros((0, 0)), self_term=False, normalize="alive").shape == (0,)
    assert clique_scores(np.ones((1, 1)), self_term=False, normalize="alive").tolist() == [0]


def test_the_similarity_is_not_changed():
    similarity = noise(6)
    before = similarity.copy()
    clique_scores(similarity, self_term=False, normalize="alive")
    assert np.array_equal(similarity, before)
