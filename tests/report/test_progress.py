from dataclasses import replace
from pathlib import Path
from typing import Any

from segprune.report.collect import SweepData
from segprune.report.progress import not_yet, onward, progress, unfinished
from tests.report.sweeps import job_data, sweep
from tests.report.sweeps import unfinished as before_its_end

DONE, FAILED = job_data(0, "l1", 40.0), job_data(1, "fgp", None)
KILLED = before_its_end(job_data(2, "l2", 40.0, seed=1), "killed", "stopped before its end")
RUNNING = before_its_end(job_data(3, "l2", 40.0), "running", "process 12 on node7")
LATER = before_its_end(job_data(4, "taylor", 40.0))


def data(*jobs: Any, **changes: Any) -> SweepData:
    known = {"is_noted": True, "state": "killed", "finish": "python run.py -m pruner=l1", **changes}
    return replace(sweep(jobs), **known)


def test_of_a_sweep_that_is_over_the_failures_are_counted() -> None:
    found = progress(data(DONE, FAILED))
    assert (found.tally, found.advice, found.command, found.lines) == ("2 jobs, 1 failed", "", "", [])
    assert (unfinished(data(DONE, FAILED)), onward(data(DONE, FAILED))) == ([], None)


def test_of_one_that_is_not_all_are_counted_and_its_command_finishes_it() -> None:
    found = progress(data(DONE, FAILED, KILLED, LATER, unknown=("7", "8")))
    assert found.tally == "6 jobs asked: 1 done, 1 failed, 1 killed, 3 not started"
    assert found.lines == [
        f"{found.tally}. This finishes the sweep; what is done comes from the store:",
        "python run.py -m pruner=l1",
    ]
    assert unfinished(data(DONE, KILLED, unknown=("7",))) == [KILLED, "7"]
    assert onward(data(DONE, KILLED)) == "python run.py -m pruner=l1"
    # where jobs are chosen while the sweep runs, nobody knows how many there were to be
    assert progress(data(DONE, KILLED, is_noted=False)).tally == "2 jobs: 1 done, 1 killed"


def test_while_it_runs_there_is_nothing_to_type() -> None:
    found = progress(data(RUNNING, LATER, state="running"))
    assert found.lines == [
        "2 jobs asked: 1 running, 1 not started. The sweep is still running; its report at the end has all of them."
    ]
    assert onward(data(RUNNING, LATER, state="running")) is None


def test_jobs_that_outlive_their_sweep_are_waited_for() -> None:
    found = progress(data(DONE, RUNNING))
    assert found.advice.startswith("When the running jobs are over")
    assert found.command == f"segprune report {Path('sweeps', '12-00-00')}"
    assert onward(data(DONE, RUNNING)) is None


def test_jobs_in_a_queue_are_not_started_twice() -> None:
    found = progress(data(DONE, LATER, state="starting"))
    assert found.advice.startswith("Its jobs were left to a queue. When none of them is there any more: This")
    assert found.command == "python run.py -m pruner=l1"


def test_what_a_comparison_waits_for_is_named_by_method_and_seed() -> None:
    other = before_its_end(job_data(5, "l2", 40.0, seed=2))
    assert not_yet([DONE, FAILED]) == []
    assert not_yet([DONE, KILLED, LATER, other]) == ["not finished yet: l2 (seed 1, 2), taylor (seed 0)"]
