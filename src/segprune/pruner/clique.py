"""Greedy search for the least redundant channels."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TIE = 1e-12
"""Degrees that differ by less, relative to the largest one, are the same number with other rounding."""


def removal_order(similarity: Floats, *, self_term: bool) -> tuple[NDArray[np.int64], Floats]:
    """Remove the channel most similar to those still there, again and again.

    A tie goes to the channel that was most similar to all at the start, then to the first one. The last two
    channels always tie.

    Args:
        similarity: (C, C), symmetric, not negative.
        self_term: Whether the degree of a channel counts its similarity to itself.

    Returns:
        (C,) channels, the first removed first, and (C,) the degree of each of them when it was removed: its
        summed similarity to the channels then left. Degrees never rise along the order.

    Source: SIRFP, arXiv:2412.12672, Algorithm 1 (``self_term`` false) and its official code
        (true). Differs: degrees are updated, not summed anew, O(C^2) instead of O(C^3); the official code
        leaves ties to the sort.
    """
    edges = similarity.astype(np.float64)
    if not self_term:
        np.fill_diagonal(edges, 0.0)
    start = edges.sum(axis=1)
    degree = start.copy()
    slack = TIE * start.max(initial=0.0)
    order = np.empty(len(edges), dtype=np.int64)
    paid = np.empty(len(edges))
    for step in range(len(edges)):
        tied = np.flatnonzero(degree >= degree.max() - slack)
        best = tied[np.argmax(start[tied] >= start[tied].max() - slack)]
        order[step], paid[step] = best, degree[best]
        degree -= edges[best]
        degree[best] = -np.inf
    return order, paid


def clique_scores(similarity: Floats, *, self_term: bool, normalize: Literal["alive", "none"]) -> Floats:
    """(C, C) similarity -> (C,) scores, minus the redundancy of a channel when it was removed.

    Args:
        similarity: Symmetric, not negative.
        self_term: See ``removal_order``.
        normalize: ``none``: redundancy is the degree. ``alive``: the mean similarity to the channels then
            left, comparable between groups of any size. That mean may rise along the order, and the lowest
            scores must be the first removed: a score is lifted to just above the one before it where it would
            not be above.
    """
    order, paid = removal_order(similarity, self_term=self_term)
    scores = np.empty(len(order))
    if normalize == "none":
        scores[order] = -paid
        return scores
    edges_left = np.arange(len(order), 0, -1) - (0 if self_term else 1)
    before = -np.inf
    for channel, redundancy in zip(order, paid / np.maximum(edges_left, 1), strict=True):
        before = max(-redundancy, np.nextafter(before, np.inf))
        scores[channel] = before
    return scores
