"""What the jobs of a sweep have to compute, and how long that takes by timed steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch

from segprune.gpu import name_of
from segprune.result.table import aligned
from segprune.run.assemble import Run
from segprune.schedule.schedule import Schedule
from segprune.stage.contract import Context, Stage
from segprune.stage.identity import identity
from segprune.stage.planned import PlannedTraining
from segprune.store.fingerprint import fingerprint
from segprune.sweep.estimate import Estimate
from segprune.sweep.step_time import StepTime, step_time

IN_ALL_S = 50.0
"""For the steps of all networks together."""
LEAST, MOST = 0.5, 1.5
"""By how much a job may differ from its timed steps: cut networks are faster, and a job does more than steps."""
TITLES = (
    "schedule",
    "jobs",
    "epochs",
    "steps",
    "batch",
    "optimiser",
    "lr",
    "weight decay",
    "decay",
    "warm-up",
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a job has to compute.

    Attributes:
        run: Its configuration.
        ctx: Its context.
        reused: How many of its stages the store has; those that only measure do not count.
        gap: The stored result that it lacks first; None if it lacks none.
    """

    run: Run
    ctx: Context
    reused: int
    gap: str | None

    @property
    def network(self) -> str:
        """What tells networks apart that take other times."""
        settings = self.run.settings
        dataset = {key: value for key, value in settings.dataset.items() if key != "seed"}
        inputs = {"model": settings.model, "dataset": dataset, "passes": self.ctx.passes.record()}
        return fingerprint("network", inputs)

    def trainings(self) -> Iterator[PlannedTraining]:
        """All of them, also those that the store has, in order."""
        for stage in self.run.stages:
            yield from stage.trainings(self.ctx)


@dataclass(frozen=True, kw_only=True)
class Images:
    """How many images go through networks.

    Attributes:
        trained: In training, in those of plain steps.
        evaluated: In evaluation.
    """

    trained: float
    evaluated: int

    def seconds(self, timed: StepTime) -> Estimate:
        """How long that takes."""
        middle = self.trained * timed.trained_s + self.evaluated * timed.evaluated_s
        return Estimate(low=LEAST * middle, middle=middle, high=MOST * middle, is_by_steps=True)


def images(works: Sequence[Work | None]) -> list[Images | None]:
    """What each job has to do, if anything; what several jobs need is done by the first of them."""
    made: set[str] = set()
    return [_left(work, made) if work and work.gap else None for work in works]


def by_steps(
    works: Sequence[Work | None], known: Sequence[Estimate | None]
) -> tuple[list[Estimate | None], list[str]]:
    """The time of each job, by timed steps where it is not known, and what was timed, in words.

    Args:
        works: What the jobs have to compute; None for one that cannot start.
        known: Their times by earlier jobs, as far as these tell it.
    """
    left = images(works)
    needed = [work for work, time in zip(works, known, strict=True) if work and time is None]
    found = timed(needed)
    times = list(known)
    for number, (work, shown) in enumerate(zip(works, left, strict=True)):
        took = found.get(work.network) if work and times[number] is None else None
        if took and shown:
            times[number] = shown.seconds(took)
    return times, [_told(work, found[work.network]) for work in {one.network: one for one in needed}.values()]


def _told(work: Work, took: StepTime | None) -> str:
    model, device = work.run.facts.model, work.ctx.hardware.device
    where = f"{model} on {work.ctx.data.name}"
    if took is None:
        return (
            f"{where}: no step with two images could be timed on {device}, in its memory or within "
            f"{IN_ALL_S:.0f} s, so its time is unknown."
        )
    name = name_of(device) or f"threads {torch.get_num_threads()}"
    step = f" a training image takes {took.trained_s:.2g} s (batches of {took.batch})," if took.batch else ""
    return (
        f"by steps, as no earlier sweep tells the time of {where}, with these sizes and epochs:{step} an evaluated "
        f"one {took.evaluated_s:.2g} s ({device}, {name}). "
        f"Expect {LEAST:.0%} to {MOST:.0%}: cut networks are faster, and a job does more than steps."
    )


def _left(work: Work, made: set[str]) -> Images:
    """What no job before computes; its results are added to those that are ``made``."""
    ctx, settings = work.ctx, work.run.settings
    inputs = [settings.model, settings.dataset, settings.seed, str(settings.checkpoint)]
    so_far, position, networks = fingerprint("start", {"start": inputs}), 0, 0
    trained, evaluated = 0.0, 0
    for stage in work.run.stages:
        if stage.only_measures:
            evaluated += stage.images_shown(ctx, networks)
            continue
        for training in _missing(stage, work, position):
            own = fingerprint(
                training.word, {"from": so_far, "about": training.about, "times": training.times}
            )
            if own not in made:
                size = training.schedule.batch_size
                trained += training.effort * training.epochs * (len(ctx.data.fit) // size * size)
                evaluated += training.epochs * len(ctx.data.select or ())
            made.add(own)
        so_far = fingerprint("stage", {"from": so_far, "stage": identity(stage)})
        if position >= work.reused and so_far not in made:
            evaluated += stage.images_shown(ctx, 0)
            networks += len(stage.networks)
            made.add(so_far)
        position += 1
    return Images(trained=trained, evaluated=evaluated)


def _missing(stage: Stage, work: Work, position: int) -> Sequence[PlannedTraining]:
    """The trainings of a stage that the store does not have."""
    trainings = [*stage.trainings(work.ctx)] if position >= work.reused else []
    if position > work.reused or work.gap not in stage.keeps:
        return trainings
    words = [training.word for training in trainings]
    return trainings[words.index(work.gap) :] if work.gap in words else []


def timed(works: Sequence[Work]) -> Mapping[str, StepTime | None]:
    """The networks of jobs -> their times; None where memory or time does not suffice."""
    first = {work.network: work for work in reversed(works)}
    end, found = perf_counter() + IN_ALL_S, dict[str, StepTime | None]()
    for left, (network, work) in zip(range(len(first), 0, -1), first.items(), strict=True):
        schedules = [one.schedule for other in works if other.network == network for one in other.trainings()]
        schedule = schedules[0] if schedules else None
        found[network] = step_time(work.ctx, schedule, (end - perf_counter()) / left)
    return found


def schedules(works: Mapping[int, Work]) -> str:
    """The schedules of all trainings as a table.

    Args:
        works: Number of a job -> what it does.
    """
    jobs: dict[tuple[str, ...], list[int]] = {}
    for number, work in works.items():
        for training in work.trainings():
            line = _line(training, len(work.ctx.data.fit))
            if number not in jobs.setdefault(line, []):
                jobs[line].append(number)
    body = [(line[0], _numbers(found, len(works)), *line[1:]) for line, found in jobs.items()]
    return aligned(TITLES, body, text_columns=2) if body else ""


def _line(training: PlannedTraining, count: int) -> tuple[str, ...]:
    schedule = training.schedule
    often = "" if training.times == 1 else f"{training.times} x "
    batches = "" if schedule.accumulate == 1 else f" x {schedule.accumulate}"
    return (
        training.key,
        f"{often}{schedule.epochs}",
        str(_steps(schedule, count)),
        f"{schedule.batch_size}{batches}",
        schedule.optimizer,
        f"{schedule.lr:g}",
        f"{schedule.weight_decay:g}",
        schedule.decay,
        f"{schedule.warmup:g}",
    )


def _steps(schedule: Schedule, count: int) -> int:
    """Updates in an epoch."""
    return -(-(count // schedule.batch_size) // schedule.accumulate)


def _numbers(found: Sequence[int], count: int) -> str:
    """Jobs by their numbers, those in a row as a range."""
    if len(found) == count:
        return "all"
    ranges: list[list[int]] = []
    for number in found:
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return ",".join("-".join(f"#{number}" for number in ends) for ends in ranges)
