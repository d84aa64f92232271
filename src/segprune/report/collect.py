"""A sweep as one object, read from its folder, the folders of its jobs and the store."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml  # type: ignore[import-untyped]

from segprune.config.places import places_of
from segprune.config.protocol import UNTAUGHT
from segprune.errors import CheckpointError
from segprune.report.command import finishing
from segprune.report.entries import Entries, entries_of
from segprune.report.table import Outcome
from segprune.result.metrics import declared
from segprune.result.row import columns, from_record, to_record
from segprune.status import STATUS, job_folders, noted_jobs, now
from segprune.tracking.secrets import redacted

EXTRA = ("number", "setting", "option", "method", "is_final")
"""``option`` is the chosen budget, ``budget`` its unit."""
_ASKED = ("dataset", "model", "pruner", "budget", "protocol", "ratio", "seed")
_STATES: Mapping[str, Any] = {
    **{state: state for state in ("done", "failed", "killed", "running")},
    "starting": "not started",
}
"""Status of a file -> status of its job."""
STANDARD = "standard"
"""The protocol of a job that is no control."""
_OF_METHOD = ("pruner.", "budget.")
"""Overrides that make another method; all others that differ make another setting, compared apart."""
OF_TEACHING = ("distill=", "distill.", "teacher.", "model@teacher.")
"""Overrides that say how a network is taught; without a teacher, only the first of them means something."""


@dataclass(frozen=True, kw_only=True)
class JobData:
    """One job of a sweep with its results.

    Attributes:
        number: Its folder inside the sweep's.
        outcome: Its options, and how it ended.
        setting: Dataset, model and other overrides that differ in the sweep: methods are compared within it.
        method: The pruner, and overrides of pruner or budget that differ in the sweep; for a control, its protocol,
            behind the pruner where it has one.
        seconds: Wall time of the job.
        entries: Its results in the store.
    """

    number: str
    outcome: Outcome
    setting: str
    method: str
    seconds: float | None
    entries: Entries


@dataclass(frozen=True, kw_only=True)
class SweepData:
    """A sweep.

    Attributes:
        folder: Where its jobs' folders are.
        overrides: What was typed on the command line, flags first, without credentials.
        jobs: Its jobs, in order, also those that are not finished; those that differ only in what changes nothing
            count once.
        twins: Number -> number of the job with the same settings and the very same results, which stands for it.
        rows: One line per evaluated network of each job: the columns of its row, metrics as floats, and ``EXTRA``.
        unknown: Numbers of jobs that have not started and whose options nobody noted.
        is_noted: Whether the sweep noted its jobs, so that these are all that were asked for.
        state: Of the sweep itself: ``running``, ``starting`` for one that was left to a queue, or another one if it
            is over.
        finish: The command that finishes it.
    """

    folder: Path
    overrides: tuple[str, ...]
    jobs: tuple[JobData, ...]
    twins: Mapping[str, str]
    rows: pd.DataFrame
    unknown: tuple[str, ...] = ()
    is_noted: bool = False
    state: str = "done"
    finish: str = ""


def collect(folder: Path, overrides: str = "") -> SweepData:
    """Read a sweep's folder and the store entries it names; nothing is computed again or unpickled.

    Args:
        folder: The sweep's folder, with one folder per job.
        overrides: What was typed, for a folder without Hydra's own record of it.

    Raises:
        CheckpointError: There is no job, or a status file or row cannot be read.
    """
    try:
        noted, state = noted_jobs(folder), now(folder)
        found = {job: (noted or {}).get(os.path.relpath(job, folder), {}) for job in job_folders(folder)}
    except (ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / STATUS} cannot be read ({error}); remove it to count all jobs"
        ) from error
    unknown = [job for job, about in found.items() if not about and not (job / STATUS).exists()]
    known = {job: about for job, about in found.items() if job not in unknown}
    if not known:
        raise CheckpointError(f"{folder} holds no job; give the folder of a sweep, with <job>/{STATUS} in it")
    typed = {job: overrides_of(job, about) for job, about in known.items()}
    # a control lacks overrides that do not concern it, and of a job that never began they may not be known: that is
    # no difference between the other jobs
    every = [mine for mine in typed.values() if mine is not None]
    usual = [mine for mine in every if _protocol(mine) == STANDARD] or every
    common = set.intersection(*map(set, usual)) if usual else set()
    jobs = [
        _job_data(
            job,
            about,
            number=job.relative_to(folder).as_posix(),
            own=[override for override in typed[job] or () if override not in common],
        )
        for job, about in known.items()
    ]
    whole = _typed_for(folder) or split_overrides(
        redacted(overrides or state.get("asked", {}).get("overrides", ""))
    )
    return replace(
        sweep_data(folder, whole, jobs),
        unknown=tuple(job.relative_to(folder).as_posix() for job in unknown),
        is_noted=noted is not None,
        state=str(state.get("status")),
        finish=finishing(folder, whole, _typed_for(folder, "hydra")) if whole else "",
    )


def sweep_data(folder: Path, overrides: Sequence[str], jobs: Sequence[JobData]) -> SweepData:
    """A sweep of its jobs; of jobs without any difference but in their results each gets a setting of its own."""
    first: dict[object, JobData] = {}
    twins = {}
    for job in jobs:
        results = frozenset(job.entries.names.items())
        other = first.setdefault((_identity(job), results) if results else job.number, job)
        if other is not job:
            twins[job.number] = other.number
    jobs = list(first.values())
    same = Counter(map(_identity, jobs))
    jobs = [
        job if same[_identity(job)] == 1 else replace(job, setting=f"{job.setting}; job {job.number}")
        for job in jobs
    ]
    return SweepData(
        folder=folder, overrides=tuple(overrides), jobs=tuple(jobs), twins=twins, rows=_frame(jobs)
    )


def split_overrides(text: str) -> list[str]:
    """The overrides of a line that joins them with spaces; a value may hold spaces itself."""
    return [part for part in re.split(r" +(?=~|\+{0,2}[\w.@/:-]+=)", text.strip()) if part]


def outcome_of(status: Mapping[str, Any]) -> Outcome:
    """The job of a status file, or of what its sweep noted of it before it starts."""
    asked, state = status["asked"], status.get("status", "starting")
    ratio = asked["ratio"]
    where = f"process {status.get('pid')} on {status.get('host')}"
    return Outcome(
        **{name: asked[name] for name in _ASKED if name not in ("ratio", "protocol")},
        protocol=asked.get("protocol", STANDARD),
        distill=asked.get("distill", UNTAUGHT),
        ratio=None if ratio is None else round(float(ratio), 6),  # range(...) leaves 0.30000000000000004
        status="reused" if state == "done" and status["was_reused"] else _STATES[state],
        reason=where if state == "running" else redacted(str(status.get("error", ""))),
        rows=tuple(from_record(row) for row in status.get("rows", [])),
    )


def overrides_of(job: Path, noted: Mapping[str, Any]) -> list[str] | None:
    """What was typed for a job, without credentials: as its sweep noted it, else by Hydra's own record, if any.

    Args:
        job: Its folder, where another sweep may have left such a record.
        noted: What its sweep noted of it.
    """
    if "overrides" in noted:
        return [redacted(str(override)) for override in noted["overrides"]]
    record = job / ".hydra" / "overrides.yaml"
    return typed_in(record) if record.exists() else None


def _job_data(folder: Path, noted: Mapping[str, Any], *, number: str, own: Sequence[str]) -> JobData:
    try:
        status = {**noted, **now(folder)}
        job = outcome_of(status)
        # the results of a job that is not finished may never have been written
        names = status.get("entries", ()) if job.is_finished else ()
        entries = entries_of(Path(status.get("store", folder)), names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CheckpointError) as error:
        raise CheckpointError(
            f"{folder / STATUS} cannot be read ({type(error).__name__}: {error}); remove the job's folder to leave "
            "it out"
        ) from error
    varied = [override for override in own if _key(override) not in _ASKED]
    of_method = [override for override in varied if _key(override).startswith(_OF_METHOD)]
    ignored = OF_TEACHING[1:] if job.distill == UNTAUGHT else ()
    of_setting = [
        override
        for override in varied
        if override not in of_method and not override.lstrip("+~").startswith(ignored)
    ]
    return JobData(
        number=number,
        outcome=job,
        setting="; ".join([f"{job.dataset}, {job.model}", *of_setting]),
        method=_method(job, of_method),
        seconds=status.get("seconds"),
        entries=entries,
    )


def _method(job: Outcome, of_method: Sequence[str]) -> str:
    match job.protocol:
        case "standard":
            return " ".join([job.pruner, *of_method])
        case "dense" | "half":
            return job.protocol
        case _:
            return " ".join([job.pruner, *of_method, job.protocol])


def _frame(jobs: Sequence[JobData]) -> pd.DataFrame:
    records = [
        {
            **to_record(row),
            "number": job.number,
            "setting": job.setting,
            "option": None if row.pruner is None else job.outcome.budget,
            "method": "dense" if row.pruner is None else job.method,
            "is_final": row is job.outcome.rows[-1],
        }
        for job in jobs
        for row in job.outcome.rows
    ]
    whole = dict.fromkeys([*columns(), *EXTRA, *(name for record in records for name in record)])
    return pd.DataFrame(records, columns=list(whole)).astype(dict.fromkeys(declared(), float))


def _identity(job: JobData) -> tuple[object, ...]:
    return (job.setting, job.method, job.outcome.budget, job.outcome.ratio, job.outcome.seed)


def _protocol(overrides: Sequence[str]) -> str:
    found = [override.split("=")[1] for override in overrides if _key(override) == "protocol"]
    return found[-1] if found else STANDARD


def _key(override: str) -> str:
    return override.lstrip("+~").split("=")[0]


def _typed_for(sweep: Path, what: str = "task") -> list[str]:
    """What was typed for a sweep, by Hydra's own record of it; empty when there is none.

    Args:
        sweep: Its folder.
        what: Overrides of the ``task``, with the places of its configurations; or those of ``hydra``.
    """
    try:
        hydra = yaml.safe_load((sweep / "multirun.yaml").read_text(encoding="utf-8"))["hydra"]
        places = places_of(hydra) if what == "task" else []
        return [redacted(str(one)) for one in (*places, *hydra["overrides"][what])]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return []


def typed_in(path: Path) -> list[str]:
    """The list of overrides in a YAML file that Hydra wrote; empty when there is none."""
    try:
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [redacted(str(override)) for override in node]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return []
