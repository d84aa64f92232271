"""How well a criterion predicts what the oracle measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segprune.graph.group import Scores

Channel = tuple[str, int]
"""Group name and one of its channels."""
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a criterion and the oracle agree on which of the probed channels to remove.

    Attributes:
        k: Number of channels that either would remove.
        precision_at_k: Fraction of the criterion's k channels that are among the oracle's; None for k = 0.
        expected_precision: What random scores reach on average; None for k = 0.
        precision_gain: 0: no better than random scores, 1: as the oracle; None where random scores reach 1.
        spearman: Rank correlation; None where one side is constant.
    """

    k: int
    precision_at_k: float | None
    expected_precision: float | None
    precision_gain: float | None
    spearman: float | None


def values_of(scores: Scores, probed: Sequence[Channel]) -> Values:
    """(P,) the criterion's score of each probed channel."""
    return np.array([float(scores[name][channel]) for name, channel in probed], dtype=np.float64)


def lowest(
    values: Values, probed: Sequence[Channel], ratio: float, scope: Literal["local", "global"]
) -> tuple[int, ...]:
    """Positions in ``probed`` of the lowest of the (P,) values: round(ratio N) of every N that are ranked together.

    Ties are settled by the order of the channels.
    """
    found: list[int] = []
    for members in _ranked_together(probed, scope):
        order = members[np.argsort(values[members], kind="stable")]
        found += order[: round(ratio * len(order))].tolist()
    return tuple(sorted(found))


def agreement(
    scores: Scores,
    changes: Values,
    probed: Sequence[Channel],
    ratio: float,
    scope: Literal["local", "global"],
) -> Agreement:
    """Compare a criterion with the oracle, to which a channel matters as much as its removal changes the loss.

    In local scope, precision counts the channels of all groups; the correlation is the mean over the groups,
    weighted by their numbers of probed channels, without groups where either side is constant.

    Args:
        scores: Of the criterion, higher = keep.
        changes: (P,) signed loss change of each.
        probed: The probed channels.
        ratio: Fraction of channels that would be removed.
        scope: Whether the probed channels of each group are ranked together, or all of them.
    """
    score, importance = values_of(scores, probed), np.abs(changes)
    mine, best = (set(lowest(values, probed, ratio, scope)) for values in (score, importance))
    together = _ranked_together(probed, scope)
    precision = expected = gain = None
    if best:
        precision = len(mine & best) / len(best)
        expected = sum(round(ratio * len(members)) ** 2 / len(members) for members in together) / len(best)
        gain = (precision - expected) / (1 - expected) if expected < 1 else None
    correlations = [(spearman(score[members], importance[members]), len(members)) for members in together]
    defined = [(value, weight) for value, weight in correlations if value is not None]
    return Agreement(
        k=len(best),
        precision_at_k=precision,
        expected_precision=expected,
        precision_gain=gain,
        spearman=sum(value * weight for value, weight in defined) / sum(weight for _, weight in defined)
        if defined
        else None,
    )


def _ranked_together(probed: Sequence[Channel], scope: Literal["local", "global"]) -> list[NDArray[np.int64]]:
    """Positions in ``probed``, one array per ranking."""
    names = np.array([name if scope == "local" else "" for name, _ in probed])
    return [np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())]


def spearman(first: Values, second: Values) -> float | None:
    """Rank correlation; ``None`` where a side is constant."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
