"""``benchmark_summary.json``: the outcome of a sweep for programs."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segprune.report.collect import JobData, SweepData
from segprune.report.contest import Contest, Standing
from segprune.report.progress import onward, unfinished
from segprune.report.teaching import Verdict, verdicts
from segprune.result.metrics import declared
from segprune.result.row import Row, to_record

SCHEMA_VERSION = 4
"""Raised when a key changes its meaning or is removed, not by a new key."""
_REDUCTIONS = {
    "channel_reduction": "channels_kept",
    "mac_reduction": "macs_kept",
    "param_reduction": "params_kept",
}
"""Usual names in other benchmarks for the fraction removed, 1 - the fraction kept."""
_COUNTS = ("total", "completed", "failed", "success_rate")
"""Also in ``summary_stats``, where scripts of the field look for them."""


def summary(data: SweepData, contests: Sequence[Contest], figures: Sequence[str] = ()) -> dict[str, Any]:
    """The sweep as plain JSON values; unknown ones are null.

    Args:
        data: The sweep.
        contests: Its settings and budgets.
        figures: Names of the files in the folder of figures.

    Returns:
        - ``schema_version``, ``sweep`` (name of the folder), ``overrides`` (list)
        - ``asked``: how many jobs the sweep was asked for; null where they are chosen while it runs, and of earlier
          versions
        - ``total``, ``completed`` (computed or reused), ``reused``, ``failed``, ``killed``, ``running``,
          ``not_started``: numbers of jobs; ``success_rate``: ``completed`` by ``total``; ``twins``: numbers of jobs
          that are left out, each with that of the job of the same settings and results
        - ``unfinished``: one record for each job that was killed, is running or has not started: ``number``,
          ``status``, ``reason``, and where they are known ``setting``, ``method``, ``budget``, ``ratio``, ``seed``
        - ``finish``: command that finishes the sweep; null if no job is missing, or while it is still running
        - ``pruning_ratios``: the ratios that were asked for; ``summary_stats``: the numbers of jobs once more
        - ``results``: one flat record per job, for ``pandas.read_json``: what it is of (``dataset``, ``split``,
          ``model``, ``method``, ``ratio`` asked, ``seed`` ...), ``miou_raw_percent`` and
          ``miou_reestimated_percent`` right after the cut, every metric of the job's last network, whose ``stage``
          it says, and ``speedup_latency``, ``channel_reduction``, ``mac_reduction``,
          ``param_reduction`` for scripts that know these names
        - ``jobs``: one full record per job: ``number``, ``setting``, ``method``, ``dataset``, ``model``,
          ``pruner``, ``budget``, ``protocol``, ``distill``, ``ratio``, ``seed``, ``status`` (``done``, ``reused``,
          ``failed``, ``killed``, ``running``, ``not started``), ``reason``, ``seconds``, ``entries`` (stage ->
          entry of the store), ``missing`` (files that the report did not find), ``rows``
        - ``contests``: per setting and budget: ``setting``, ``budget``, ``ratio``, ``dense_percent``, ``winner``,
          ``headline``, ``reasons``, ``notes``, ``remedy``, and ``standings``, best first: ``method``, ``seeds``,
          ``is_at_budget``, the numbers of ``Standing.values``, ``behind`` with the fields of ``Difference``; and
          ``references``, the controls: ``name`` and the fields of ``Reference``
        - ``teachings``: per setting and distillation: ``setting``, ``teaching``, ``helps``, ``sentence``,
          ``remedy`` and ``lessons`` with the fields of ``Lesson``, its ``outcome`` (``helps``, ``harms``, ``open``,
          ``unknown``) and ``gain`` with the fields of ``Difference``; empty without a teacher
        - ``figures``: names of the files in the folder of figures
    """
    statuses = [*(job.outcome.status for job in data.jobs), *("not started" for _ in data.unknown)]
    completed = sum(job.outcome.is_finished for job in data.jobs)
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "sweep": data.folder.name,
        "overrides": list(data.overrides),
        "asked": len(statuses) + len(data.twins) if data.is_noted else None,
        "total": len(statuses),
        "completed": completed,
        **{
            status.replace(" ", "_"): statuses.count(status)
            for status in ("reused", "failed", "killed", "running", "not started")
        },
        "twins": dict(data.twins),
        "success_rate": completed / len(statuses) if statuses else None,
        "unfinished": [_unfinished(job) for job in unfinished(data)],
        "finish": onward(data),
        "pruning_ratios": sorted({ratio for job in data.jobs if (ratio := _ratio(job)) is not None}),
        "results": [_result(job) for job in data.jobs],
        "jobs": [_job(job) for job in data.jobs],
        "contests": [_contest(contest) for contest in contests],
        "teachings": [_teaching(verdict) for verdict in verdicts(data)],
        "figures": list(figures),
    }
    found["summary_stats"] = {name: found[name] for name in _COUNTS}
    plain: dict[str, Any] = _without_nan(found)
    return plain


def summary_text(data: SweepData, contests: Sequence[Contest], figures: Sequence[str] = ()) -> str:
    """The summary as a JSON document."""
    return json.dumps(summary(data, contests, figures), indent=1, allow_nan=False) + "\n"


def earlier_figures(path: Path) -> set[str]:
    """The files that the report with this summary has in its folder of figures; none where that is not known."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["figures"]
        return {name for name in names if Path(name).name == name}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _unfinished(job: JobData | str) -> dict[str, Any]:
    if isinstance(job, str):
        names = ("setting", "method", "budget", "ratio", "seed")
        return {"number": job, "status": "not started", "reason": "", **dict.fromkeys(names)}
    asked = job.outcome
    return {
        "number": job.number,
        "status": asked.status,
        "reason": asked.reason,
        "setting": job.setting,
        "method": job.method,
        "budget": asked.budget,
        "ratio": _ratio(job),
        "seed": asked.seed,
    }


def _ratio(job: JobData) -> float | None:
    """The fraction that was to be removed; None of a network that was to stay whole."""
    return None if job.outcome.is_whole else job.outcome.ratio


def _job(job: JobData) -> dict[str, Any]:
    asked = vars(job.outcome) | {"rows": [to_record(row) for row in job.outcome.rows]}
    return {
        **asked,
        "number": job.number,
        "setting": job.setting,
        "method": job.method,
        "ratio": _ratio(job),
        "seconds": job.seconds,
        "entries": dict(job.entries.names),
        "missing": list(job.entries.missing),
    }


def _result(job: JobData) -> dict[str, Any]:
    asked = job.outcome
    last = asked.rows[-1] if asked.rows else None
    kept = {name: None if last is None else last[metric] for name, metric in _REDUCTIONS.items()}
    return {
        "number": job.number,
        "setting": job.setting,
        "method": job.method,
        "dataset": asked.dataset,
        "split": last and last.split,
        "model": asked.model,
        "budget": asked.budget,
        "protocol": asked.protocol,
        "distill": asked.distill,
        "ratio": _ratio(job),
        "threshold": asked.threshold,
        "seed": asked.seed,
        "status": asked.status,
        "stage": last and last.stage,
        **{name: row and row["miou_percent"] for name, row in _cut_rows(asked.rows).items()},
        **{name: None if last is None else last[name] for name in declared()},
        "speedup_latency": None if last is None else last["speedup"],
        **{name: None if value is None else 1 - value for name, value in kept.items()},
    }


def _cut_rows(rows: Sequence[Row]) -> dict[str, Row | None]:
    """Key -> row of the network right after the cut: as it was cut, and with its BN statistics re-estimated."""
    by_stage = {row.stage: row for row in rows}
    names = {"miou_raw_percent": "pruned_raw", "miou_reestimated_percent": "pruned"}
    return {key: by_stage.get(stage) for key, stage in names.items()}


def _contest(contest: Contest) -> dict[str, Any]:
    standings = [_standing(standing) for standing in contest.standings]
    controls = [
        {"name": control.name, **vars(control), "ahead": control.ahead and vars(control.ahead)}
        for control in contest.references
    ]
    return vars(contest) | {"headline": contest.headline, "standings": standings, "references": controls}


def _standing(standing: Standing) -> dict[str, Any]:
    behind = None if standing.behind is None else vars(standing.behind)
    return {
        "method": standing.method,
        "seeds": standing.seeds,
        "is_at_budget": standing.is_equal,
        "threshold": standing.threshold,
        **standing.values,
        "behind": behind,
    }


def _teaching(verdict: Verdict) -> dict[str, Any]:
    lessons = [
        {**vars(lesson), "outcome": lesson.outcome, "gain": lesson.gain and vars(lesson.gain)}
        for lesson in verdict.lessons
    ]
    return vars(verdict) | {"helps": verdict.helps, "sentence": verdict.sentence, "lessons": lessons}


def _without_nan(value: Any) -> Any:
    """The same value with null for nan."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
