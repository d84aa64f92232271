from pathlib import Path

import pytest

from segprune.run.hardware import hardware_of
from segprune.run.start import context_of
from segprune.store.store import Store
from segprune.sweep.estimate import NOTHING, Estimate
from segprune.sweep.grid import checked_jobs
from segprune.sweep.step_time import StepTime
from segprune.sweep.work import Images, Work, by_steps, images, schedules
from segprune.tracking.silent import SilentRun
from tests.sweep.test_dry_run import configured

pytestmark = pytest.mark.usefixtures("composer")
HALF = 4
"""Evaluated: report images; also images that train is chosen on, of 8 that it has."""


def works(
    folder: Path,
    pruners: str,
    ratios: str,
    *overrides: str,
    gaps: tuple[tuple[int, str | None], ...] = ((0, "train"),) * 2,
) -> list[Work]:
    """Jobs of a sweep; how many stages of each the store has, and which result it lacks first."""
    grid = [f"hydra.sweeper.params.pruner='{pruners}'", f"hydra.sweeper.params.ratio='{ratios}'"]
    sweep = ["sweep=grid", *grid, "phase_epochs=2", "between.epochs=1", *overrides]
    jobs = list(checked_jobs(configured(folder, *sweep)))
    data = jobs[0].run.load_data()
    store = Store(root=folder / "store", reuse=True)
    return [
        Work(
            run=job.run,
            ctx=context_of(job.run, data, hardware_of(job.run.settings), store, SilentRun()),
            reused=reused,
            gap=gap,
        )
        for job, (reused, gap) in zip(jobs, gaps, strict=True)
    ]


def test_images_of_a_job_are_those_of_its_trainings_its_cut_and_its_evaluation(tmp_path: Path) -> None:
    found = images(works(tmp_path, "l1,fpgm", "0.3"))
    # 2 + 2 epochs of 8 images, each followed by the select images; 4 images for BN; 4 networks and the reference
    # on the report images; 2 structures timed twice
    assert found[0] == Images(trained=2 * 8 + 2 * 8, evaluated=4 * HALF + 4 + 5 * HALF + 2 * 2)
    # the training and its network are the other job's
    assert found[1] == Images(trained=2 * 8, evaluated=2 * HALF + 4 + 4 * HALF + 2 * 2)


def test_what_the_store_has_is_not_left(tmp_path: Path) -> None:
    found = images(works(tmp_path, "l1", "0.2,0.3", gaps=((2, "finetune"), (3, None))))
    assert found == [
        Images(trained=2 * 8, evaluated=2 * HALF + 2 * HALF + 2 * 2),
        None,
    ]


def trained(works: list[Work]) -> list[float]:
    return [one.trained for one in images(works) if one]


def test_ratios_share_a_phase_that_does_not_depend_on_them(tmp_path: Path) -> None:
    slimming = works(tmp_path, "slimming", "0.2,0.3")
    assert trained(slimming) == [8 * (2 + 2 + 2), 8 * 2]
    dmcp = works(tmp_path, "dmcp", "0.2,0.3")
    (phase,) = [one.effort for one in dmcp[0].trainings() if one.word == "prepare"]
    assert trained(dmcp) == [8 * (2 + 2 * phase + 2), 8 * (2 * phase + 2)]
    begun = works(tmp_path, "slimming", "0.2,0.3", gaps=((1, "prune"), (1, "prepare")))
    assert trained(begun) == [8 * 2, 8 * (2 + 2)]


def test_rounds_train_between_cuts(tmp_path: Path) -> None:
    found = works(tmp_path, "l1", "0.2,0.3", "rounds=3", gaps=((1, "prune"), (0, "train")))
    assert trained(found) == [8 * (2 * 1 + 2), 8 * (2 + 2 * 1 + 2)]


def test_images_take_the_time_that_was_timed() -> None:
    took = Images(trained=10, evaluated=4).seconds(StepTime(trained_s=3, evaluated_s=0.5, batch=4))
    assert took == Estimate(low=16, middle=32, high=48, is_by_steps=True)


def test_known_times_stay_and_each_other_network_is_timed_once(tmp_path: Path) -> None:
    known = Estimate(low=1, middle=2, high=3)
    jobs = works(tmp_path, "l1", "0.2,0.3", "+hydra.sweeper.params.seed='0,1'", gaps=((0, "train"),) * 4)
    times, told = by_steps([*jobs, None], [known, None, None, None, None])
    assert times[0] == known
    assert times[4] is None
    assert all(time is not None and time.is_by_steps and time.middle > 0 for time in times[1:4])
    (line,) = told
    assert line.startswith(
        "by steps, as no earlier sweep tells the time of unet on streets, with these sizes and epochs: a training "
        "image takes "
    )
    assert by_steps(jobs, [known] * 4) == ([known] * 4, [])
    assert by_steps([None], [NOTHING]) == ([NOTHING], [])


def test_schedules_are_shown_with_the_jobs_that_have_them(tmp_path: Path) -> None:
    jobs = works(tmp_path, "l1,slimming,l2", "0.3", "finetune.accumulate=2", gaps=((0, "train"),) * 3)
    assert schedules(dict(enumerate(jobs))).splitlines() == [
        "schedule               jobs  epochs  steps  batch  optimiser     lr  weight decay  decay  warm-up",
        "train                  all        2      2      4      adamw  0.003          0.01   poly        1",
        "finetune               all        2      1  4 x 2      adamw  0.003          0.01   poly      0.5",
        "pruner.phase.schedule  #1         2      2      4        sgd   0.02        0.0001   poly        1",
    ]
    assert schedules({}) == ""
    assert "#0-#1,#3" in schedules({0: jobs[1], 1: jobs[1], 2: jobs[0], 3: jobs[1]})
