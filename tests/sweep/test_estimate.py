import json
from pathlib import Path

import pytest

from segprune.status import ORIGIN
from segprune.sweep.estimate import (
    NOTHING,
    Estimate,
    Gap,
    Past,
    duration,
    expectation,
    pace,
    past_jobs,
    seconds,
    stored_bytes,
)
from tests.sweep.test_dry_run import finished

CHAIN = ("train", "prepare", "prune", "finetune", "quality", "quality", "eval")


def past(took: float, begin: int | None, stages: tuple[str, ...] = CHAIN, size: int | None = 10) -> Past:
    return Past(seconds=took, stages=stages, sizes=(size,) * len(stages), begin=begin)


def new(stage: str) -> Gap:
    return Gap(stage=stage, is_shared=False)


def shared(stage: str) -> Gap:
    return Gap(stage=stage, is_shared=True)


@pytest.mark.parametrize(
    ("gap", "position"),
    [
        (new("train"), 0),
        (shared("train"), 1),
        (new("quality"), 4),
        (shared("quality"), 6),
        (new("rounds"), None),
    ],
)
def test_a_job_begins_at_the_first_result_it_makes(gap: Gap, position: int | None) -> None:
    assert gap.position(CHAIN) == position


def test_jobs_that_began_elsewhere_do_not_tell_the_time() -> None:
    jobs = [past(10, 0), past(40, 0), past(20, 0), past(3, 2), past(1, 7)]
    assert seconds(new("train"), jobs) == Estimate(low=10, middle=20, high=40)
    assert seconds(new("prune"), jobs) == Estimate(low=3, middle=3, high=3)


def test_jobs_that_made_more_bound_the_time_and_those_that_made_less_say_nothing() -> None:
    jobs = [past(10, 0), past(1, 3)]
    assert seconds(shared("train"), jobs) == Estimate(low=10, middle=10, high=10, is_bound=True)
    assert seconds(new("train"), [past(1, 3)]) is None
    assert seconds(new("train"), [past(5, None)]) is None  # it did not record what it made
    assert seconds(new("train"), [past(5, 0, stages=("prune",))]) is None


def test_disk_is_what_follows_in_the_store() -> None:
    assert stored_bytes(shared("train"), [past(1, 7)]) == Estimate(low=60, middle=60, high=60)
    sizes = [past(1, 0, size=size) for size in (1, 2, 6)]
    assert stored_bytes(new("prune"), sizes) == Estimate(low=5, middle=10, high=30)


def test_results_that_are_gone_have_no_size() -> None:
    gone = Past(seconds=1, stages=("train", "prune", "eval"), sizes=(None, 4, 5), begin=0)
    assert stored_bytes(new("train"), [gone]) is None
    assert stored_bytes(new("prune"), [gone]) == Estimate(low=9, middle=9, high=9)


def test_estimates_add_up() -> None:
    bound = Estimate(low=4, middle=5, high=6, is_bound=True)
    assert NOTHING + Estimate(low=1, middle=2, high=3) + bound == Estimate(
        low=5, middle=7, high=9, is_bound=True
    )
    assert (NOTHING + Estimate(low=1, middle=2, high=3, is_by_steps=True)).is_by_steps


def test_finished_jobs_say_what_they_made_and_what_it_takes(tmp_path: Path) -> None:
    finished(tmp_path / "a" / "0", 10, made=2, size=3)
    finished(tmp_path / "a" / "1", 1, made=0, model="other")
    (tmp_path / "a" / "2").mkdir()
    (tmp_path / "a" / "2" / "status.json").write_text('{"status": "running"}')
    found = past_jobs(tmp_path)
    stages = ("train", "prune", "finetune", "eval")
    assert found["streets", "unet"] == [Past(seconds=10, stages=stages, sizes=(3, 3, 3, 3), begin=2)]
    assert found["streets", "other"][0].begin == 4
    assert len(found) == 2


def test_a_run_is_told_how_long_earlier_ones_took(tmp_path: Path) -> None:
    ours = {"train": {"epochs": 8}, "dataset": {"size_hw": [96, 128]}}
    said = expectation(tmp_path, ("streets", "unet"), ours)
    assert said.startswith("no run of unet on streets has finished here yet")
    assert said.endswith(
        "with the defaults it takes about 2 minutes on two CPU cores, and segprune plan tells it"
    )
    for number, took in enumerate((60, 90, 300)):
        (tmp_path / "runs" / str(number)).mkdir(parents=True)
        finished(tmp_path / "runs" / str(number), took)
    for number, options in enumerate(({"made": 0}, {"model": "fcn"})):  # all was reused; another network
        (tmp_path / "sweeps" / "x" / str(number)).mkdir(parents=True)
        finished(tmp_path / "sweeps" / "x" / str(number), 9999, **options)
    expected = (
        "expect about 90 s: earlier runs of unet on streets (3) took 60 s to 5 min; what the store has already is "
        "not computed again"
    )
    assert expectation(tmp_path, ("streets", "unet"), ours) == expected
    # a try with other epochs tells nothing; one with another seed does
    once = {**ours, "train": {"epochs": 1}}
    for number, config in enumerate(({**ours, "seed": 1}, once, once)):
        (tmp_path / "runs" / str(number) / ORIGIN).write_text(json.dumps({"config": config}))
    assert "(1) took 60 s to 60 s" in expectation(tmp_path, ("streets", "unet"), ours)
    assert "(2) took 90 s to 5 min" in expectation(tmp_path, ("streets", "unet"), once)
    other = expectation(tmp_path, ("streets", "unet"), {**ours, "train": {"epochs": 2}})
    assert other.startswith("no run of unet on streets with these sizes and epochs has finished here yet")
    found = past_jobs(tmp_path / "runs")["streets", "unet"]
    assert [one.pace == pace(once) for one in found] == [False, True, True]


@pytest.mark.parametrize(
    ("seconds_", "words"), [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (5400, "90 min"), (9000, "2.5 h")]
)
def test_a_duration_is_as_exact_as_an_estimate(seconds_: float, words: str) -> None:
    assert duration(seconds_) == words
