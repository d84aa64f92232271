"""The report: one HTML file that contains everything it shows and loads nothing."""

import base64
import importlib.resources
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import pandas as pd

from segprune.report.collect import JobData, SweepData
from segprune.report.command import command
from segprune.report.contest import Contest, announcements
from segprune.report.gallery import Picture
from segprune.report.metric_table import metric_table
from segprune.report.progress import progress, unfinished
from segprune.report.references import is_control
from segprune.report.statistics import rank_stability
from segprune.report.teaching import verdicts
from segprune.report.timing import unsteadiness
from segprune.result.caution import cautions

TEMPLATE = "template.html.j2"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An image in the page.

    Attributes:
        source: Data URI.
        caption: What it shows; also its text for screen readers.
    """

    source: str
    caption: str


def html(data: SweepData, contests: Sequence[Contest], pictures: Sequence[Picture]) -> str:
    """The page; every text in it is escaped, so that names in a configuration stay text.

    Args:
        data: The sweep.
        contests: Its settings and budgets.
        pictures: Its figures.
    """
    template = importlib.resources.files("segprune.report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"percent": _percent, "number": _number}
    figures = {
        kind: [Shown(source=_png(p.png), caption=p.caption) for p in pictures if p.kind == kind]
        for kind in ("method", "class", "teaching", "job")
    }
    teachings, progressed = verdicts(data), progress(data)
    remedies = [*(one.remedy for one in contests), *(one.remedy for one in teachings)]
    return environment.from_string(template).render(
        data=data,
        contests=contests,
        announcements=announcements(contests),
        progress=progressed,
        unfinished=unfinished(data),
        remedies=[remedy for remedy in dict.fromkeys(remedies) if remedy != progressed.command],
        metrics={contest.title: list(metric_table(data, contest)) for contest in contests},
        figures=figures,
        predictions=list(_predictions(data)),
        facts=_facts(data),
        stability=_stability(contests),
        teachings=teachings,
        title=_title(data),
        command=command(data.overrides) if data.overrides else "",
        cautions=cautions(
            (f"{job.outcome.rows[0].run} (job {job.number})", job.outcome.rows)
            for job in data.jobs
            if job.outcome.rows
        ),
        unsteadiness=unsteadiness(row for job in data.jobs for row in job.outcome.rows),
        failed=[job for job in data.jobs if job.outcome.status == "failed"],
        incomplete=[job for job in data.jobs if job.entries.missing],
    )


def _title(data: SweepData) -> str:
    """What was compared on what."""
    methods = dict.fromkeys(job.outcome.pruner for job in data.jobs if not is_control(job))
    settings = dict.fromkeys(job.setting.partition(";")[0] for job in data.jobs)
    return f"{', '.join(methods) or 'Controls'} on {' and '.join(settings)}"


def _facts(data: SweepData) -> Mapping[str, str]:
    """What was measured where and by which software; every value that occurs."""
    rows = data.rows
    about = [job.entries.about() for job in data.jobs]
    versions = [
        {**node["versions"], "python": node.get("python")}
        for node in about
        if isinstance(node.get("versions"), dict)
    ]
    found: dict[str, Sequence[Any]] = {
        "dataset and split": [
            f"{dataset} {split}" for dataset, split in zip(rows["dataset"], rows["split"], strict=True)
        ],
        "input size": [f"{h}x{w} px" for h, w in zip(rows["size_h_px"], rows["size_w_px"], strict=True)],
        "passes": rows["passes"].fillna("one").tolist() if "passes" in rows else [],
        "classes scored": rows["classes_scored"].dropna().astype(int).tolist(),
        "model": rows["model"].tolist(),
        "seeds": [f"seed {seed}" for seed in sorted({job.outcome.seed for job in data.jobs})],
        "device": rows["device"].tolist(),
        "versions": [", ".join(f"{name} {number}" for name, number in node.items()) for node in versions],
        "store": [job.entries.root for job in data.jobs if job.entries.names],
    }
    if set(found["passes"]) <= {"one"}:
        del found["passes"]  # the usual way
    return {name: "; ".join(map(str, dict.fromkeys(values))) or "unknown" for name, values in found.items()}


def _stability(contests: Sequence[Contest]) -> list[Mapping[Hashable, Any]]:
    """Kendall's tau between the budgets of each setting."""
    found: list[Mapping[Hashable, Any]] = []
    for setting in dict.fromkeys(contest.setting for contest in contests):
        means = {
            f"{contest.budget} {'-' if contest.ratio is None else format(contest.ratio, 'g')}": pd.Series(
                {s.method: s.values["mean"] for s in contest.standings if s.is_equal}, dtype=float
            )
            for contest in contests
            if contest.setting == setting
        }
        table = rank_stability(pd.DataFrame(means))
        found += table.assign(setting=setting).to_dict("records")
    return found


def _predictions(data: SweepData) -> Iterator[Shown]:
    """Predictions of each method's network at the largest ratio; the first seed only."""
    chosen: dict[tuple[str, str, str], JobData] = {}
    for job in data.jobs:
        key = (job.setting, job.method, job.outcome.budget)
        before = chosen.get(key)
        if job.outcome.rows and (
            before is None or (job.outcome.ratio or 0.0) > (before.outcome.ratio or 0.0)
        ):
            chosen[key] = job
    for job in chosen.values():
        picture, asked = job.entries.predictions(), job.outcome
        if picture is not None:
            what = f"Job {job.number}: {job.method}, {asked.cut}, seed {asked.seed}, {job.setting}."
            yield Shown(source=_png(picture), caption=what)


def _png(raw: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(raw).decode()}"


def _percent(fraction: float | None) -> str:
    return _number(None if fraction is None else 100 * fraction, 1)


def _number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash if it is not known."""
    return "-" if value is None or pd.isna(value) else f"{value:.{digits}f}"
