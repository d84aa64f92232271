"""The numbers of a run that the tracker shows."""

from collections.abc import Iterator, Sequence

from segprune.result.metrics import declared
from segprune.result.row import Row

_OF_CUT = ("miou_percent", "logit_mse", "argmax_agreement_percent")


def headline(rows: Sequence[Row]) -> dict[str, float]:
    """Names -> values: ``eval/`` has every metric of the last network.

    ``baseline/`` has a few of the first one, ``prune/`` of the one that was just cut, ``prune_raw/`` of that one
    with the BN statistics from before the cut. What was not measured is left out.
    """
    by_stage = {row.stage: row for row in rows}
    shown = dict(_shown("baseline", rows[0], ["miou_percent"]))
    if "pruned_raw" in by_stage:
        shown |= dict(_shown("prune_raw", by_stage["pruned_raw"], ["miou_percent"]))
    if "pruned" in by_stage:
        shown |= dict(_shown("prune", by_stage["pruned"], _OF_CUT))
    return shown | dict(_shown("eval", rows[-1], list(declared())))


def _shown(group: str, row: Row, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    for metric in (declared()[name] for name in names):
        value = row[metric.name]
        if value is not None:
            for name in (metric.shown_name, *metric.aliases):
                yield f"{group}/{name}", metric.shown(value)
