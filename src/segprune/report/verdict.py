"""Which method is best at an equal achieved budget, and whether the data allow to say so."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from segprune.config.protocol import NEVER_CUT
from segprune.report.collect import JobData, SweepData
from segprune.report.command import command, more_seeds
from segprune.report.contest import EQUAL, Contest, Standing, gap
from segprune.report.contest_notes import notes
from segprune.report.lacking import CONTROLS, GOOD_SEEDS, lacking
from segprune.report.paired import BySeed, by_seed, difference, on_other_images
from segprune.report.progress import not_yet, onward
from segprune.report.references import false_controls, is_control, references, unfinished_controls
from segprune.report.statistics import LEVEL, Scatter, fewest_images, over_seeds, scatter_of
from segprune.result.metrics import declared

BY_THRESHOLD = "a threshold decided how much goes, so methods have no budget in common"


def contests(data: SweepData) -> list[Contest]:
    """Every setting and budget of a sweep, in order; without controls and jobs that cut nothing."""
    found: dict[tuple[str, str, float | None], list[JobData]] = {}
    unnamed = _unnamed(data)
    for job in data.jobs:
        asked = job.outcome
        if is_control(job) or job in unnamed:
            continue
        if not asked.is_finished or any(row.pruner is not None for row in asked.rows):
            found.setdefault((job.setting, asked.budget, asked.ratio), []).append(job)
    order = sorted(found, key=lambda key: (key[0], key[1], key[2] or 0.0))
    return [_contest(data, found[key]) for key in order]


def _unnamed(data: SweepData) -> list[JobData]:
    """Jobs without results of a sweep that cuts nothing: pruner and ratio in ``conf/`` say nothing of them."""
    stages = [override for override in data.overrides if override.startswith("stages=")]
    if not stages or "prune" in stages[-1]:
        return []
    return [job for job in data.jobs if not job.outcome.is_finished]


def final_rows(data: SweepData) -> pd.DataFrame:
    """The last network of each job that finished and cut one, with the seed of the job."""
    seeds = {job.number: job.outcome.seed for job in data.jobs if job.outcome.is_finished}
    rows = data.rows[data.rows["is_final"] & data.rows["pruner"].notna()]
    rows = rows[rows["number"].isin(seeds)]
    return rows.assign(seed=rows["number"].map(seeds).astype(int))


def _contest(data: SweepData, jobs: Sequence[JobData]) -> Contest:
    rows = final_rows(data)
    rows = rows[rows["number"].isin([job.number for job in jobs])]
    standings = _standings(rows, jobs)
    equal = [standing for standing in standings if standing.is_equal]
    methods = _by_method(jobs)
    controls = tuple(references(data.jobs, jobs[0], methods, standings[0].method)) if standings else ()
    waiting = unfinished_controls(data.jobs, jobs[0], methods)
    dense = [job for job in waiting if job.outcome.protocol == NEVER_CUT]
    missing = not_yet([*jobs, *dense])
    if late := [job.number for job in _unnamed(data) if job.outcome.is_open]:
        missing.append(f"not finished yet: job {', '.join(late)}, whose network is not known")
    is_over = not missing
    missing += [BY_THRESHOLD] if jobs[0].outcome.ratio is None else lacking(equal, jobs, controls, dense)
    missing += false_controls(data.jobs, jobs[0], methods)
    missing += _unlike(equal, methods)
    images = [] if missing else _too_few_images(equal)
    reasons = missing or [*_doubts(equal), *images]
    asked = jobs[0].outcome
    return Contest(
        setting=jobs[0].setting,
        budget=asked.budget,
        ratio=asked.ratio,
        dense_percent=_dense(jobs),
        standings=tuple(standings),
        references=controls,
        winner=None if reasons else equal[0].method,
        reasons=tuple(reasons),
        notes=notes(standings, jobs, controls, waiting),
        # no seed makes up for images
        remedy=_next(data, jobs, is_over=is_over, is_complete=not missing)
        if reasons and not images
        else None,
    )


def _unlike(standings: Sequence[Standing], methods: Mapping[str, BySeed]) -> list[str]:
    """That methods were not measured on the images of the best one; none if all were."""
    names = [standing.method for standing in standings]
    found = [name for name in names if on_other_images(methods[names[0]], methods[name])]
    if names[:1] == found[:1]:
        return [f"the seeds of {name} were measured on other images than each other" for name in found[:1]]
    return [f"{', '.join(found)} measured on other images than {names[0]}"] if found else []


def _dense(jobs: Sequence[JobData]) -> float | None:
    """Mean over the seeds of the mIoU that the finished jobs started from."""
    by_seed = {
        job.outcome.seed: job.outcome.rows[0].number("miou_percent")
        for job in jobs
        if job.outcome.is_finished
    }
    return sum(by_seed.values()) / len(by_seed) if by_seed else None


def _standings(rows: pd.DataFrame, jobs: Sequence[JobData]) -> list[Standing]:
    """The methods, best first; each but the best with its distance to the best."""
    if rows.empty:
        return []
    table = over_seeds(rows, by=("method",)).set_index("method")
    means = rows.groupby("method")[list(declared())].mean().assign(**_kept(rows, jobs))
    table = table.drop(columns="n").join(means)
    is_met = rows["number"].map({job.number: _is_met(job) for job in jobs if job.outcome.rows}).astype(bool)
    off = ~is_met.groupby(rows["method"]).all()
    table = table.assign(off=off).sort_values(["off", "mean"], ascending=[True, False], kind="stable")
    by_method = _by_method(jobs)
    # the best of M was not chosen beforehand, so its M - 1 comparisons share the 5 % of error
    level = 1 - (1 - LEVEL) / max(1, int((~off).sum()) - 1)
    best = str(table.index[0])
    scatter = _scatter(rows[rows["method"].isin(table.index[~table["off"]])])
    return [
        Standing(
            method=str(method),
            seeds=tuple(sorted(by_method[str(method)])),
            values={str(key): float(value) for key, value in values.drop("off").items()},
            is_equal=not values["off"],
            behind=None
            if method == best
            else difference(by_method[best], by_method[str(method)], level=level, scatter=scatter),
            threshold=_threshold(job for job in jobs if job.method == method),
        )
        for method, values in table.iterrows()
    ]


def _kept(rows: pd.DataFrame, jobs: Sequence[JobData]) -> dict[str, pd.Series]:
    """What each method keeps of the metrics of the dense networks: its mean by theirs, over the same seeds.

    A mean of the ratios of the seeds can be above 1 for a method that is below the dense networks on average.
    """
    found = {}
    for kept, metric in (
        ("miou_retention", "miou_percent"),
        ("pixel_accuracy_retention", "pixel_accuracy_percent"),
    ):
        first = rows["number"].map(
            {job.number: job.outcome.rows[0].number(metric) for job in jobs if job.outcome.rows}
        )
        dense = (rows[metric] / rows[kept]).fillna(first).where(rows[kept].notna())  # 0 by 0 does not tell it
        own = rows[metric].where(rows[kept].notna())
        found[kept] = own.groupby(rows["method"]).mean() / dense.groupby(rows["method"]).mean()
    return found


def _is_met(job: JobData) -> bool:
    """Whether a job reached the asked budget.

    A cut of the whole ratio did, within the budget's own tolerance, since the budget would have refused it: of a
    time by the clock of its search, not by that of eval. Several cuts together may have reached something else.
    """
    row = job.outcome.rows[-1]
    if row.ratio_asked is None:
        return False
    plan = job.entries.plan() or {}
    is_taken = plan.get("removed") is not None and plan.get("asked") == row.ratio_asked
    return is_taken or abs(row.number("ratio_reached") - row.ratio_asked) <= EQUAL


def _threshold(jobs: Iterable[JobData]) -> float | None:
    return next((job.outcome.threshold for job in jobs if job.outcome.threshold is not None), None)


def _scatter(rows: pd.DataFrame) -> Scatter | None:
    """From all ranked methods; None if they have different seeds, or only one."""
    table = rows.pivot(index="method", columns="seed", values="miou_percent")
    is_whole = min(table.shape) > 1 and not table.isna().any(axis=None)
    return scatter_of(table.to_numpy(dtype=float)) if is_whole else None


def _by_method(jobs: Sequence[JobData]) -> Mapping[str, BySeed]:
    methods = dict.fromkeys(job.method for job in jobs if job.outcome.is_finished)
    return {method: by_seed(job for job in jobs if job.method == method) for method in methods}


def _doubts(standings: Sequence[Standing]) -> list[str]:
    """The methods that are not clearly behind the best one, with the distance of the nearest."""
    best, *others = standings
    close = [other for other in others if other.behind is None or not other.behind.is_clear]
    if not close:
        return []
    nearest, *further = close
    nor = f", nor from {', '.join(other.method for other in further)}" if further else ""
    return [f"{best.method} cannot be told from {nearest.method}, {gap(nearest)} behind{nor}"]


def _too_few_images(standings: Sequence[Standing]) -> list[str]:
    """That no interval over images is possible, and what helps; none where there is one."""
    found = [standing.behind for standing in standings if standing.behind is not None]
    return [
        f"{one.n} report images are too few for that, whatever the seeds: add report images, "
        f"{fewest_images(one.level)} is the least"
        for one in found[:1]
        if one.over == "images" and one.low is None
    ]


def _next(data: SweepData, jobs: Sequence[JobData], *, is_over: bool, is_complete: bool) -> str | None:
    """The command that may lead to a winner; while jobs are missing, the one that finishes the sweep."""
    if not is_over:
        return onward(data)
    return _thresholds(data, jobs) or _remedy(data, is_complete=is_complete)


def _thresholds(data: SweepData, jobs: Sequence[JobData]) -> str | None:
    """The sweep's command with the thresholds that its first cut by one suggests; None where none was made."""
    for job in jobs:
        if found := (job.entries.plan() or {}).get("thresholds"):
            values = {"pruner": [job.outcome.pruner], "budget.threshold": list(found.values())}
            return command(data.overrides, **values)
    return None


def _remedy(data: SweepData, *, is_complete: bool) -> str | None:
    """The sweep's command with the missing controls and seeds; with two more seeds if none is missing.

    None where jobs only evaluated finished networks, which no seed and no control changes.
    """
    made = {stage for job in data.jobs for stage in job.entries.names}
    if made == {"eval"}:
        return None
    pruners = list(dict.fromkeys(job.outcome.pruner for job in data.jobs if not is_control(job)))
    protocols = {job.outcome.protocol for job in data.jobs}
    protocol = "full" if "scratch_e" in protocols else "fair"
    seeds = sorted({job.outcome.seed for job in data.jobs})
    count = max(GOOD_SEEDS, len(seeds) + 2 * is_complete)
    return command(
        data.overrides,
        pruner=[pruner for pruner in pruners if pruner not in CONTROLS] or pruners,
        seed=more_seeds(seeds, count),
        protocol=[protocol],
    )
