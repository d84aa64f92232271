"""What to know beside a verdict: few seeds, unequal compute, controls that come close."""

import math
from collections.abc import Iterator, Sequence

from segprune.report.collect import JobData
from segprune.report.contest import EQUAL, MOST_NAMED, Standing
from segprune.report.lacking import GOOD_SEEDS
from segprune.report.paired import FEWEST_SEEDS
from segprune.report.progress import not_yet
from segprune.report.references import Reference


def notes(
    standings: Sequence[Standing],
    jobs: Sequence[JobData],
    controls: Sequence[Reference],
    waiting: Sequence[JobData],
) -> tuple[str, ...]:
    """One sentence each.

    Args:
        standings: The methods, best first.
        jobs: All jobs at their budget.
        controls: Those that finished.
        waiting: Those that did not.
    """
    return (
        *_of_methods(standings, jobs),
        *_against_scratch(standings, controls, waiting),
        *_against_half(standings, controls),
    )


def _of_methods(standings: Sequence[Standing], jobs: Sequence[JobData]) -> list[str]:
    failed = [f"{job.method} seed {job.outcome.seed}" for job in jobs if job.outcome.status == "failed"]
    other = [
        f"{standing.method} ({100 * standing.values['ratio_reached']:.1f} %)"
        for standing in standings
        if not standing.is_equal
    ]
    compute = [standing.values["macs_kept"] for standing in standings if standing.is_equal]
    kept = [value for value in compute if not math.isnan(value)]
    above = [standing.method for standing in standings if standing.values["miou_retention"] > 1]
    fewest = min((len(standing.seeds) for standing in standings), default=GOOD_SEEDS)
    found = [*_shared(jobs), *_unscored(jobs)]
    if FEWEST_SEEDS <= fewest < GOOD_SEEDS:
        found.append(f"{fewest} seeds; {GOOD_SEEDS} or more are recommended")
    if above:
        found.append(
            f"Above the dense network: {', '.join(above)}. More training may lift that too, which the control "
            "protocol=dense shows, or the lead is chance"
        )
    if failed:
        found.append(f"Failed: {', '.join(failed)}")
    if other and jobs[0].outcome.ratio is not None:
        found.append(f"Not ranked, since off the budget: {', '.join(other)}")
    if kept and max(kept) - min(kept) > EQUAL:
        budget = jobs[0].outcome.budget
        told = f"{100 * min(kept):.1f} to {100 * max(kept):.1f} % of the MACs are kept"
        found.append(
            f"Not quite equal compute: {told}; a smaller budget.tolerance comes closer"
            if budget == "macs"
            else f"Equal {budget} are not equal compute: {told}; budget=macs compares at equal MACs"
        )
    return found


def _unscored(jobs: Sequence[JobData]) -> Iterator[str]:
    """Which methods left channels whole that others could cut; plans of earlier versions do not tell."""
    for method in dict.fromkeys(job.method for job in jobs if job.outcome.is_finished):
        plans = [job.entries.plan() or {} for job in jobs if job.method == method]
        layers = list(dict.fromkeys(one["layer"] for plan in plans for one in plan.get("unscored") or ()))
        if layers:
            named = ", ".join(layers[:MOST_NAMED])
            more = f" and {len(layers) - MOST_NAMED} more" if len(layers) > MOST_NAMED else ""
            yield f"{method} chose among fewer channels: it cannot score {named}{more}, which stayed whole"


def _shared(jobs: Sequence[JobData]) -> Iterator[str]:
    """That seeds share a dense network, so that their scatter is not that of its training."""
    dense = {
        job.outcome.seed: job.outcome.rows[0].fingerprint
        for job in jobs
        if job.outcome.is_finished and job.outcome.rows
    }
    if (count := len(set(dense.values()))) < len(dense):
        which = "one dense network" if count == 1 else f"{count} dense networks"
        yield (
            f"The {len(dense)} seeds share {which}: intervals over seeds say what another draw of images, another "
            "cut and another finetuning would show, not another training of the dense network"
        )


def _against_scratch(
    standings: Sequence[Standing], controls: Sequence[Reference], waiting: Sequence[JobData]
) -> list[str]:
    """Whether the best method is clearly better than its widths trained from scratch."""
    best = standings[0].method if standings else None
    if late := not_yet(job for job in waiting if job.method.startswith(f"{best} scratch")):
        return [f"The comparison of {best} with its cut network trained from scratch has {late[0]}"]
    scratch = [
        control for control in controls if control.protocol.startswith("scratch") and control.method == best
    ]
    if best is not None and not scratch:
        return [f"{best} was not compared with its cut network trained from scratch: protocol=full adds that"]
    return [
        f"{best} is not clearly better than its cut network {control.name.partition(', ')[2]}"
        for control in scratch
        if control.ahead is None or not control.ahead.is_clear
    ]


def _against_half(standings: Sequence[Standing], controls: Sequence[Reference]) -> list[str]:
    """Whether a network that is simply narrower has more mIoU than the best method, whatever it costs."""
    return [
        f"{standings[0].method} is below the control half ({control.name}): {control.mean:.2f} % mIoU"
        + ("" if math.isnan(control.macs_kept) else f" at {100 * control.macs_kept:.1f} % of the MACs")
        for control in controls
        if control.protocol == "half" and control.mean > standings[0].values["mean"]
    ]
