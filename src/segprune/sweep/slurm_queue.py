"""SLURM's queue: jobs put into it, asked about, and taken from it."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from segprune.errors import ConfigError, SegpruneError

ASK_SECONDS = 60.0
MORE_TIME = "Give it more time (hydra.launcher.time) or let it go on more often (hydra.launcher.requeue)"
REMEDIES = {
    "CANCELLED": "it was cancelled",
    "TIMEOUT": f"its time was over. {MORE_TIME}",
    "PREEMPTED": "another job took its place, and SLURM did not put it into the queue again",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "its memory was not enough. Give it more (hydra.launcher.mem)",
}
"""State of a job that is over -> what was wrong and what helps, where SLURM knows it."""
CONTINUES = "the same command continues from here"
_GONE = "Invalid job id"
"""What SLURM says of jobs that ended so long ago that it has forgotten them."""


class SlurmError(SegpruneError):
    """A command of SLURM fails."""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """What each job is given, and how the queue is asked.

    Attributes:
        partition: Where to; None: the cluster's default.
        account: Who pays; None: the user's default.
        time: Limit of one job in SLURM's own words, as ``08:00:00`` or ``2-00:00:00``; None: the partition's.
        gpus: GPUs of one job.
        cpus: CPU cores of one job; data loading takes some of them.
        mem: Memory of one job in SLURM's own words, as ``32G``; None: the partition's.
        jobs: So many at a time at most; None: as many as the cluster gives.
        requeue: How often a job that came to its time limit goes on.
        notice_s: Seconds before its time limit at which a job is told to end.
        makers_first: Whether jobs wait in the queue, without a GPU, for the one that makes what they share.
        setup: Lines of bash before each job, as ``module load cuda``.
        options: Further long options of ``sbatch``, as ``{qos: low}``; an empty value is a flag.
        wait: Whether the command waits for the end of the jobs; if not, a last job of the queue reports.
        poll_s: Seconds between two looks at the queue.
    """

    partition: str | None
    account: str | None
    time: Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d+){0,2}$")] | None
    gpus: Annotated[int, Field(ge=0)]
    cpus: Annotated[int, Field(ge=1)]
    mem: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None
    jobs: Annotated[int, Field(ge=1)] | None
    requeue: Annotated[int, Field(ge=0)]
    notice_s: Annotated[int, Field(ge=0, le=65535)]
    makers_first: bool
    setup: list[str]
    options: dict[str, str | int | None]
    wait: bool
    poll_s: Annotated[float, Field(gt=0)]

    def __post_init__(self) -> None:
        missing = [name for name in ("sbatch", "squeue", "scontrol", "scancel") if shutil.which(name) is None]
        if missing:
            raise ConfigError(
                f"hydra/launcher=slurm starts jobs by SLURM, but {', '.join(missing)} cannot be found on PATH; "
                "give the command on a login node, or take hydra/launcher=processes."
            )

    def flags(self) -> list[str]:
        """What ``sbatch`` is told of each job."""
        named = {
            "partition": self.partition,
            "account": self.account,
            "time": self.time,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
            "cpus-per-task": self.cpus,
            "mem": self.mem,
            "signal": f"TERM@{self.notice_s}",
            "open-mode": "append",  # a job that goes on keeps what it said before
            "export": "ALL",  # whatever the site's default is
        }
        given = {key: value for key, value in named.items() if value is not None}
        further = [
            f"--{key}" if value in (None, "") else f"--{key}={value}" for key, value in self.options.items()
        ]
        return ["--requeue", *(f"--{key}={value}" for key, value in given.items()), *further]

    def submit(self, script: Path, numbers: Sequence[int], after: str | None) -> str:
        """Put jobs into the queue as one array; gives its id.

        Args:
            script: What each task runs.
            numbers: Of the jobs; none: a single job that is no array.
            after: Task or array that must be over before, several joined by ``:``; None: none.
        """
        most = f"%{self.jobs}" if self.jobs else ""
        array = [f"--array={','.join(map(str, numbers))}{most}"] if numbers else []
        wait = [f"--dependency=afterany:{after}"] if after else []
        name = "%a.log" if numbers else f"{script.stem}.log"
        log_file = f"--output={script.parent / name}"
        answer = _asked("sbatch", "--parsable", *array, *wait, log_file, *self.flags(), str(script))
        return answer.strip().partition(";")[0]


def queue(arrays: Sequence[str]) -> dict[int, tuple[str, str]]:
    """Number of a job -> its state and the reason why it waits, of all that are not over."""
    try:
        text = _asked("squeue", "--noheader", "--array", f"--jobs={','.join(arrays)}", "--format=%i|%T|%r")
    except SlurmError as error:
        if _GONE in str(error):
            return {}
        raise
    found = re.findall(r"^\d+_(\d+)\|(\w+)\|(.*)$", text, re.MULTILINE)
    return {int(number): (state, reason) for number, state, reason in found}


def lost(tasks: Collection[str]) -> set[str]:
    """Those of some tasks that are in the queue no more; none where that cannot be found out.

    Args:
        tasks: Of each ``<array>_<number>``, or the id of a job without an array.
    """
    if not tasks or shutil.which("squeue") is None:
        return set()
    try:
        text = _asked(
            "squeue", "--noheader", "--array", "--format=%i"
        )  # --jobs fails if it has forgotten one
    except SlurmError:
        return set()
    return {*tasks} - {*text.split()}


@dataclass(frozen=True)
class Ended:
    """What SLURM says of a job that is over.

    Attributes:
        how: It ended, in SLURM's own words; empty if it has forgotten.
        seconds: How long it ran since its last start; None if it never did, or SLURM has forgotten.
    """

    how: str
    seconds: float | None


def ended(task: str) -> Ended:
    """How a job ended.

    Args:
        task: ``<array>_<number>``.
    """
    try:
        text = _asked("scontrol", "--oneliner", "show", "job", task)
    except SlurmError:
        return Ended("", None)
    found: dict[str, str] = dict(re.findall(r"(\w+)=(\S+)", text))
    code = found.get("ExitCode", "0:0")
    how = found.get("JobState", "") + ("" if code == "0:0" else f", exit code {code}")
    return Ended(how, _seconds(found.get("RunTime", "")) or None)


def _seconds(time: str) -> float:
    """``[days-]hours:minutes:seconds``; 0 for another text."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", time)
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0,) * 4
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def remedy(how: str, otherwise: str = "") -> str:
    """What was wrong with a job and what helps; empty where nothing is known.

    Args:
        how: It ended, see ``ended``.
        otherwise: What was wrong where its state does not say it.
    """
    wrong = REMEDIES.get(how.partition(",")[0], otherwise)
    return f": {wrong}; {CONTINUES}" if wrong else ""


def cancel(tasks: Sequence[str]) -> None:
    """Have jobs ended, or taken from the queue.

    Args:
        tasks: Of each ``<array>_<number>``.
    """
    _asked("scancel", *tasks)


def _asked(*command: str) -> str:
    """What a command of SLURM says.

    Raises:
        SlurmError: It fails, or does not answer.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} does not answer within {ASK_SECONDS:g} s.") from error
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())
        raise SlurmError(f"{shlex.join(command)} fails: {said or f'exit code {done.returncode}'}.")
    return done.stdout
