"""The description of a sweep's tracked run: its verdicts, command and jobs."""

import html
import re
import textwrap
from collections.abc import Sequence
from itertools import accumulate

from segprune.report.collect import JobData, SweepData
from segprune.report.command import command
from segprune.report.contest import Contest, announcements
from segprune.report.progress import progress
from segprune.report.teaching import verdicts
from segprune.result.table import MISSING, number
from segprune.tracking.record import TAG_CHARACTERS

_TITLES = (
    "method",
    "asked %",
    "seed",
    "reached %",
    "MACs kept %",
    "mIoU %",
    "mIoU kept %",
    "speed-up",
    "status",
)
_REASON_CHARACTERS = 100
_MORE = "More jobs in the report: {}."


def parent_note(data: SweepData, contests: Sequence[Contest], *, limit: int = TAG_CHARACTERS) -> str:
    """Markdown: the headlines first, since a tracker hides the rest at first; the command; a line per job.

    Whether a teacher helps comes before which method wins, and a winner before what is undecided.

    Args:
        data: The sweep.
        contests: Its settings and budgets.
        limit: Most characters; jobs whose lines do not fit are counted instead.
    """
    found = progress(data)
    twins = f"; {len(data.twins)} more equal one of them in settings and results" if data.twins else ""
    head = [
        *(f"- **{_plain(verdict.sentence)}**" for verdict in verdicts(data)),
        *(f"- **{_plain(announced.text)}**" for announced in announcements(contests)),
        "",
        f"{found.tally}{twins}. Intervals, figures and predictions: artifact `report.html`.",
        *(["", _plain(found.advice)] if found.advice else []),
        *(["", "```", found.command, "```"] if found.command else []),
        "",
        *(["```", command(data.overrides), "```", ""] if data.overrides else []),
        _line(_TITLES),
        _line(["---"] * len(_TITLES)),
    ]
    is_mixed = len({job.outcome.budget for job in data.jobs}) > 1
    jobs = [_line(_values(job, names_budget=is_mixed)) for job in data.jobs]
    whole = _text([*head, *jobs])
    if len(whole) <= limit:
        return whole
    room = limit - len(_text([*head, "", _MORE.format(len(jobs))]))
    shown = sum(end <= room for end in accumulate(len(job) + 1 for job in jobs))
    return _text([*head, *jobs[:shown], "", _MORE.format(len(jobs) - shown)])


def _values(job: JobData, *, names_budget: bool) -> list[str]:
    """The texts of a job's line."""
    asked = job.outcome
    status = _plain(asked.status)
    if asked.status in ("failed", "killed"):
        reason = textwrap.shorten(asked.reason, _REASON_CHARACTERS, placeholder="...")
        status = f"**{asked.status.upper()}** {_plain(reason)}"
    measured = [MISSING] * 5
    if asked.rows:
        last = asked.rows[-1]
        measured = [
            _percent(last["ratio_reached"]),
            _percent(last["macs_kept"]),
            number(last["miou_percent"], "{:.2f}"),
            _percent(last["miou_retention"]),
            number(last["speedup"], "x{:.2f}"),
        ]
    by_ratio = MISSING if asked.protocol == "dense" else _percent(asked.ratio)
    ratio = by_ratio if asked.threshold is None else f"score {_plain(asked.asked)}"
    unit = f" of {_plain(asked.budget)}" if names_budget and asked.threshold is None else ""
    return [_plain(job.method), f"{ratio}{unit}", str(asked.seed), *measured, status]


def _percent(fraction: float | None) -> str:
    return number(fraction, "{:.1f}", 100)


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _line(texts: Sequence[str]) -> str:
    return f"|{'|'.join(texts)}|"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_|~\[\]])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
