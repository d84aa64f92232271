"""What SLURM's commands are told, and what is understood of what they say."""

from pathlib import Path
from typing import Any

import pytest

from segprune.errors import ConfigError
from segprune.sweep.slurm_queue import Ended, Slurm, SlurmError, cancel, ended, lost, queue

SETTINGS: dict[str, Any] = {
    "partition": None,
    "account": None,
    "time": None,
    "gpus": 0,
    "cpus": 2,
    "mem": None,
    "jobs": None,
    "requeue": 1,
    "notice_s": 60,
    "makers_first": True,
    "setup": [],
    "options": {},
    "wait": True,
    "poll_s": 1.0,
}


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands of SLURM, which say what is in a file beside them and note what they were told."""
    for name in ("sbatch", "squeue", "scontrol", "scancel"):
        program = tmp_path / name
        program.write_text(
            '#!/bin/bash\nprintf "%s\\n" "$@" > "$0.told"\n[ -e "$0.fails" ] && { cat "$0.fails" >&2; exit 1; }\n'
            '[ ! -e "$0.says" ] || cat "$0.says"\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def test_jobs_are_put_into_the_queue_as_one_array(says: Path) -> None:
    (says / "sbatch.says").write_text("7;cluster\n")
    slurm = Slurm(
        **SETTINGS | {"gpus": 1, "mem": "32G", "jobs": 3, "options": {"qos": "low", "exclusive": ""}}
    )
    assert slurm.submit(says / "job.sh", [0, 2], "5_1") == "7"
    told = (says / "sbatch.told").read_text().splitlines()
    assert told[:3] == ["--parsable", "--array=0,2%3", "--dependency=afterany:5_1"]
    assert {"--gres=gpu:1", "--cpus-per-task=2", "--mem=32G", "--qos=low", "--exclusive", "--requeue"} < {
        *told
    }
    assert told[-1] == f"{says}/job.sh"
    assert not any(word.startswith(("--partition", "--account", "--time")) for word in told)


def test_the_queue_is_understood(says: Path) -> None:
    (says / "squeue.says").write_text("7_0|RUNNING|None\n7_12|PENDING|Priority, and more\n8|RUNNING|None\n")
    assert queue(["7"]) == {0: ("RUNNING", "None"), 12: ("PENDING", "Priority, and more")}
    (says / "squeue.fails").write_text("slurm_load_jobs error: Invalid job id specified")
    assert queue(["7"]) == {}
    (says / "squeue.fails").write_text("Unable to contact slurm controller")
    with pytest.raises(SlurmError, match=r"squeue .* fails: Unable to contact slurm controller"):
        queue(["7"])


@pytest.mark.parametrize(
    ("said", "how", "seconds"),
    [
        (
            "JobId=7 ArrayTaskId=1 JobState=FAILED Reason=x ExitCode=137:0 Requeue=1 RunTime=1-02:03:04",
            "FAILED, exit code 137:0",
            93784.0,
        ),
        ("JobId=7 JobState=COMPLETED ExitCode=0:0 RunTime=00:01:05", "COMPLETED", 65.0),
        ("JobId=7 JobState=CANCELLED ExitCode=0:0 RunTime=00:00:00", "CANCELLED", None),
    ],
)
def test_the_end_of_a_job_is_understood(says: Path, said: str, how: str, seconds: float | None) -> None:
    (says / "scontrol.says").write_text(said)
    assert ended("7_1") == Ended(how, seconds)
    (says / "scontrol.fails").write_text("forgotten")
    assert ended("7_1") == Ended("", None)


def test_a_job_that_is_in_the_queue_no_more_is_lost_and_none_is_where_nobody_knows(
    says: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (says / "squeue.says").write_text("7_0\n8\n")
    assert lost(["7_0", "7_1", "8", "9"]) == {"7_1", "9"}
    assert lost([]) == set()
    (says / "squeue.fails").write_text("Unable to contact slurm controller")
    assert lost(["7_1"]) == set()
    monkeypatch.setenv("PATH", "")
    assert lost(["7_1"]) == set()


def test_the_last_job_is_no_array_and_waits_for_all(says: Path) -> None:
    (says / "sbatch.says").write_text("9\n")
    assert Slurm(**SETTINGS).submit(says / "report.sh", (), "7:8") == "9"
    told = (says / "sbatch.told").read_text().splitlines()
    assert told[:3] == ["--parsable", "--dependency=afterany:7:8", f"--output={says}/report.log"]


def test_jobs_are_taken_from_it(says: Path) -> None:
    cancel(["7_0", "8_1"])
    assert (says / "scancel.told").read_text().split() == ["7_0", "8_1"]


def test_without_slurm_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="but sbatch, squeue, scontrol, scancel cannot be found on PATH"):
        Slurm(**SETTINGS)
