"""Does a teacher help: the same method at the same budget with and without one, seed by seed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from segprune.config.protocol import UNTAUGHT
from segprune.report.collect import OF_TEACHING, JobData, SweepData
from segprune.report.command import command, more_seeds
from segprune.report.contest import UNITS, interval_text
from segprune.report.paired import FEWEST_SEEDS, BySeed, by_seed, difference, measured, on_other_images
from segprune.report.progress import not_yet, onward
from segprune.report.references import false_among, is_control
from segprune.report.statistics import LEVEL, Difference, Scatter, scatter_of

GOOD_SEEDS = 3
MOST_NAMED = 2
"""A sentence with more comparisons counts them."""
_EXTRA = ("teacher_s_per_step", "distill_s_per_step")
"""Facts of an epoch that say what a step takes longer."""
_KEY = tuple[str, str, str | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One method at one budget, with and without a teacher.

    Attributes:
        setting: What both share.
        teaching: The distillation, with its keys that differ in the sweep.
        method: The method; of a control its protocol.
        budget: What the ratio is a fraction of; None where nothing is cut.
        ratio: Fraction asked to be removed; None likewise, or where a threshold decided.
        seeds: Those that finished with and without.
        plain_percent: mIoU without a teacher, mean over these seeds; nan without a seed.
        taught_percent: Likewise, with.
        gain: How much higher mIoU is with a teacher; None if there are neither images nor seeds for an interval.
        epochs: Of the finetuning, without and with; None where its curve is not there.
        extra_s_per_step: Seconds that a step takes longer for the teacher's pass and the loss, without the
            gradients of the loss; mean over epochs and seeds, nan where it was not measured.
        missing: Why the two cannot be compared; empty if they can.
    """

    setting: str
    teaching: str
    method: str
    budget: str | None
    ratio: float | None
    seeds: tuple[int, ...]
    plain_percent: float
    taught_percent: float
    gain: Difference | None
    epochs: tuple[int | None, int | None]
    extra_s_per_step: float
    missing: str

    @property
    def at(self) -> str:
        """Method and budget in words."""
        if self.budget is None:
            return self.method
        if self.ratio is None:
            return f"{self.method} at budget={self.budget}"
        return f"{self.method} at {100 * self.ratio:g} % of {UNITS.get(self.budget, self.budget)} removed"

    @property
    def outcome(self) -> str:
        """``helps``, ``harms``, ``open`` if it cannot be told, ``unknown`` if it was not compared."""
        if self.missing or self.gain is None:
            return "unknown"
        if self.gain.is_clear:
            return "helps"
        highs = (self.gain.high, self.gain.seeds_high)
        return "harms" if all(high is not None and high < 0 for high in highs) else "open"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether one kind of teaching helps in one setting.

    Attributes:
        setting: Without what is said of the teaching.
        teaching: The distillation.
        lessons: Every method and budget.
        remedy: Command that may answer it; None where every comparison is clear.
    """

    setting: str
    teaching: str
    lessons: tuple[Lesson, ...]
    remedy: str | None

    @property
    def helps(self) -> bool:
        """Whether it clearly helps somewhere and clearly harms nowhere."""
        outcomes = {lesson.outcome for lesson in self.lessons}
        return "helps" in outcomes and "harms" not in outcomes

    @property
    def sentence(self) -> str:
        """The answer in words."""
        where = f"distill={self.teaching} on {self.setting}"
        compared = [lesson for lesson in self.lessons if not lesson.missing and lesson.gain is not None]
        if not compared:
            reasons = dict.fromkeys(lesson.missing for lesson in self.lessons if lesson.missing)
            return f"Whether {where} helps is not known: {'; '.join(reasons) or 'nothing was compared'}."
        told = []
        for outcome, words in (
            ("helps", "it helps"),
            ("harms", "it harms"),
            ("open", "it cannot be told for"),
        ):
            found = [lesson for lesson in compared if lesson.outcome == outcome]
            if found:
                told.append(f"{words} {_changes(found, of=len(compared))}")
        left = len(self.lessons) - len(compared)
        rest = f"; {left} more could not be compared" if left else ""
        answer = "; ".join(told)
        return f"Does {where} help? {answer[0].upper()}{answer[1:]}{rest}. {_fairness(compared)}"


def verdicts(data: SweepData) -> list[Verdict]:
    """One for every kind of teaching in every setting of a sweep; none if no job had a teacher."""
    taught = [job for job in data.jobs if job.outcome.distill != UNTAUGHT]
    found = []
    for setting, teaching in dict.fromkeys((base(job), teaching_of(job)) for job in taught):
        of_setting = [job for job in data.jobs if base(job) == setting]
        mine = [job for job in of_setting if teaching_of(job) == teaching]
        lessons = tuple(_lessons(setting, teaching, mine, of_setting))
        is_open = any(lesson.outcome in ("open", "unknown") for lesson in lessons)
        is_late = any(job.outcome.is_open for job in of_setting)
        remedy = (onward(data) if is_late else _remedy(data, lessons)) if is_open else None
        found.append(Verdict(setting=setting, teaching=teaching, lessons=lessons, remedy=remedy))
    return found


def base(job: JobData) -> str:
    """The setting of a job without what is said of its teaching."""
    return "; ".join(part for part in job.setting.split("; ") if not part.startswith(OF_TEACHING))


def teaching_of(job: JobData) -> str:
    """The distillation of a job, with its keys that differ in the sweep."""
    parts = job.setting.split("; ")
    own = [part for part in parts if part.startswith(OF_TEACHING) and not part.startswith("distill=")]
    return "; ".join([job.outcome.distill, *own]) if job.outcome.distill != UNTAUGHT else UNTAUGHT


def _lessons(
    setting: str, teaching: str, mine: Sequence[JobData], of_setting: Sequence[JobData]
) -> Iterator[Lesson]:
    keys = list(dict.fromkeys(map(_key, mine)))
    level = 1 - (1 - LEVEL) / max(1, len(keys))  # the comparisons of a verdict share the 5 % of error
    for key in sorted(keys, key=lambda one: (one[0] != "standard", one[2] or "", one[3] or 0.0, one[1])):
        with_it = [job for job in mine if _key(job) == key]
        without = [job for job in of_setting if job.outcome.distill == UNTAUGHT and _key(job) == key]
        taught, plain = by_seed(with_it), by_seed(without)
        seeds = tuple(sorted(taught.keys() & plain.keys()))
        false = "; ".join(false_among([*taught.values(), *plain.values()]))
        missing = false or _late(with_it, without) or _missing(taught, plain, seeds)
        at_budget = [job for job in of_setting if _key(job)[2:] == key[2:] and not false_among([job])]
        scatter = _scatter(at_budget, seeds)
        both = [{seed: jobs[seed] for seed in seeds} for jobs in (taught, plain)]
        yield Lesson(
            setting=setting,
            teaching=teaching,
            method=key[1],
            budget=key[2],
            ratio=key[3],
            seeds=seeds,
            plain_percent=_mean(plain, seeds),
            taught_percent=_mean(taught, seeds),
            gain=difference(*both, level=level, scatter=scatter) if seeds else None,
            epochs=(_epochs(plain), _epochs(taught)),
            extra_s_per_step=_extra(taught),
            missing=missing,
        )


def _key(job: JobData) -> _KEY:
    """What is compared with what: protocol, method and, where something is cut, the budget."""
    asked = job.outcome
    if asked.protocol == "dense":
        return asked.protocol, job.method, None, None
    return asked.protocol, job.method, asked.budget, asked.ratio


def _late(with_it: Sequence[JobData], without: Sequence[JobData]) -> str:
    """Which jobs have not finished yet; empty if all are over."""
    found = [(not_yet(with_it), "with the teacher"), (not_yet(without), "without a teacher")]
    return "; ".join(f"{late[0]} {which}" for late, which in found if late)


def _missing(taught: BySeed, plain: BySeed, seeds: Sequence[int]) -> str:
    if not taught:
        return "no job with the teacher was evaluated"
    if not plain:
        return "no job without a teacher (distill=none) was evaluated"
    if len(seeds) < FEWEST_SEEDS:
        return f"fewer than {FEWEST_SEEDS} seeds with and without a teacher ({GOOD_SEEDS} are recommended)"
    if taught.keys() != plain.keys():
        return "jobs with and without a teacher have not the same seeds"
    if any(len(measured(jobs)) < len(jobs) for jobs in (taught, plain)):
        return "no mIoU was measured in some seeds"
    return (
        "jobs with and without a teacher were measured on other images"
        if on_other_images(taught, plain)
        else ""
    )


def _scatter(jobs: Sequence[JobData], seeds: Sequence[int]) -> Scatter | None:
    """From all jobs at the budget, with and without teachers; None unless all have the seeds."""
    table: dict[tuple[str, str], dict[int, float]] = {}
    for job in jobs:
        if job.outcome.is_finished and job.outcome.rows:
            value = job.outcome.rows[-1].number("miou_percent")
            table.setdefault((job.method, teaching_of(job)), {})[job.outcome.seed] = value
    if len(seeds) < FEWEST_SEEDS or any(jobs.keys() != set(seeds) for jobs in table.values()):
        return None
    values = np.array([[jobs[seed] for seed in seeds] for jobs in table.values()])
    return scatter_of(values) if len(values) > 1 and np.isfinite(values).all() else None


def _mean(jobs: BySeed, seeds: Sequence[int]) -> float:
    values = [miou for seed, miou in measured(jobs).items() if seed in seeds]
    return sum(values) / len(values) if values else math.nan


def _epochs(jobs: BySeed) -> int | None:
    curves = [job.entries.curve("finetune") for job in jobs.values()]
    lengths = [len(curve) for curve in curves if curve is not None]
    return max(lengths, default=None)


def _extra(jobs: BySeed) -> float:
    tables = [job.entries.facts("finetune") for job in jobs.values()]
    found = [
        table[list(_EXTRA)].sum(axis=1).mean()
        for table in tables
        if table is not None and set(_EXTRA) <= set(table.columns)
    ]
    return float(pd.Series(found, dtype=float).mean())


def _changes(lessons: Sequence[Lesson], *, of: int) -> str:
    """The lessons with their gains; more than two only counted, since the table has them."""
    gains = [(lesson, lesson.gain) for lesson in lessons if lesson.gain is not None]
    if len(gains) <= MOST_NAMED:
        return ", ".join(f"{lesson.at} ({interval_text(gain)})" for lesson, gain in gains)
    points = [gain.points for _, gain in gains]
    return f"{len(gains)} of {of} comparisons ({min(points):+.2f} to {max(points):+.2f} points)"


def _fairness(lessons: Sequence[Lesson]) -> str:
    """What the two trainings had the same."""
    epochs = {lesson.epochs for lesson in lessons if None not in lesson.epochs}
    if not epochs:
        return "The epochs of the trainings are not known."
    if all(plain == taught for plain, taught in epochs):
        return (
            "Both had the same epochs, so the teacher's passes came on top: distill.match=compute compares at the "
            "same multiply-adds."
        )
    told = sorted(f"{taught} epochs with a teacher against {plain} without" for plain, taught in epochs)
    return f"They had {', '.join(told)}."


def _remedy(data: SweepData, lessons: Sequence[Lesson]) -> str:
    """The sweep's command with jobs without a teacher and enough seeds."""
    losses = dict.fromkeys([UNTAUGHT, *(job.outcome.distill for job in data.jobs)])
    seeds = sorted({job.outcome.seed for job in data.jobs})
    is_complete = not any(lesson.missing for lesson in lessons)
    count = max(GOOD_SEEDS, len(seeds) + 2 * is_complete)
    pruners = dict.fromkeys(job.outcome.pruner for job in data.jobs if not is_control(job))
    given: Mapping[str, Sequence[object]] = {"distill": list(losses), "seed": more_seeds(seeds, count)}
    return command(data.overrides, **({"pruner": list(pruners)} if pruners else {}), **given)
