"""The table and the report at the end of a sweep."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segprune import status
from segprune.errors import SegpruneError
from segprune.report.collect import SweepData, collect, outcome_of, overrides_of
from segprune.report.progress import progress
from segprune.report.table import Outcome, sweep_table
from segprune.report.write import NOTE, write_report
from segprune.sweep.grid import labels
from segprune.tracking.contract import Tracker

log = logging.getLogger(__name__)


def outcomes_of(sweep: Path) -> list[Outcome]:
    """The jobs of a sweep, also those that have not started, as far as their options are known."""
    noted = status.noted_jobs(sweep) or {}
    about = {job: noted.get(os.path.relpath(job, sweep), {}) for job in status.job_folders(sweep)}
    found = {job: {**one, **status.now(job)} for job, one in about.items()}
    known = {job: one for job, one in found.items() if one}
    named = zip(known.values(), _settings({job: about[job] for job in known}), strict=True)
    return [replace(outcome_of(one), setting=setting) for one, setting in named]


def tell(sweep: Path, outcomes: Sequence[Outcome], overrides: str, tracker: Tracker) -> None:
    """Show the table, write the report, and track both; without a report the sweep is still complete.

    Args:
        sweep: Its folder.
        outcomes: Its jobs.
        overrides: What was typed, joined by spaces.
        tracker: Of the sweep's run.
    """
    data = _collected(sweep, overrides)
    table = "\n".join([sweep_table(outcomes), *(progress(data).lines if data else [])])
    log.info("\n%s", table)
    tracker.text(table, "sweep_report.txt")
    if data is None:
        return
    try:
        page, *others = write_report(data, sweep)
        for path in (page, *others):
            tracker.file(path, "figures" if path.parent != sweep else "")
        tracker.note((sweep / NOTE).read_text(encoding="utf-8"))
    except Exception as error:  # noqa: BLE001 - see above
        _tell_fault(sweep, error)
    else:
        log.info("report: %s", page)


def _collected(sweep: Path, overrides: str) -> SweepData | None:
    """The sweep as it ends here; None if it cannot be read."""
    try:
        return replace(collect(sweep, overrides), state="done")
    except Exception as error:  # noqa: BLE001 - as above
        _tell_fault(sweep, error)
        return None


def _tell_fault(sweep: Path, error: Exception) -> None:
    if isinstance(error, SegpruneError):
        log.error("no report: %s", error)
    else:
        log.error("no report; segprune report %s tries again", sweep, exc_info=error)


def _settings(jobs: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """What tells each job from the others besides what the table has columns for.

    Args:
        jobs: Folder -> what the sweep noted of the job.
    """
    every = [overrides_of(job, noted) or [] for job, noted in jobs.items()]
    shown = (*status.GROUPS, "ratio", "seed")
    others = [[text for text in typed if text.lstrip("+").split("=")[0] not in shown] for typed in every]
    return labels(others) if len(others) > 1 else [""] * len(others)
