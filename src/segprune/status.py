"""The status of a run, in one small file of its folder that any process can read at any time."""

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from segprune import durable
from segprune.errors import ConfigError

STATUS, LOCK = "status.json", "running.lock"
ORIGIN = "origin.json"
"""What ``reproduce.origin`` leaves beside it."""
STOPPED, KILLED = "stopped before its end", "its process was killed"
RESTART_SECONDS = 120.0
"""How long a job that SLURM starts again may meet its own lock of before: a network disk frees that of a node which
failed when its lease is over."""
GROUPS = ("dataset", "model", "pruner", "budget", "distill", "protocol")


class JobRecord:
    """The status file of one run; written anew at every change.

    From start to end the process holds a lock beside the file, which the system releases however the process ends.
    So a file that says ``running`` without a lock belongs to a process that died. Its process id would not tell,
    since ids are used again.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        """Say that the run is running.

        Raises:
            ConfigError: A living process is running in this folder.
        """
        self._folder, self._started = folder, time.time()
        self._lock = durable.Lock(folder / LOCK)
        try:
            self._lock.acquire(timeout=RESTART_SECONDS if "SLURM_RESTART_COUNT" in os.environ else 0)
        except Timeout as error:
            raise ConfigError(
                f"{folder} belongs to a run that is still going on (process {read(folder).get('pid')}); wait for "
                "its end, or give another output folder."
            ) from error
        self._values: dict[str, Any] = {
            **{"asked": dict(asked), "pid": os.getpid(), "host": platform.node()},
            **({"slurm": name} if (name := slurm_name()) else {}),
        }
        self._write(status="running")

    @property
    def is_running(self) -> bool:
        """Whether the file does not say yet how the run ended."""
        return bool(self._values["status"] == "running")

    def tracked(self, run_id: str) -> None:
        """The run has this id in the tracker; an empty one is none."""
        self._write(run_id=run_id)

    def uses(self, store: Path, entry: str) -> None:
        """The run makes or reuses this entry of a store; the same command will want it, however this one ends."""
        self._write(store=str(store), entries=[*self._values.get("entries", ()), entry])

    def sweeps(self, jobs: Mapping[Path, Mapping[str, Any]]) -> None:
        """This is a sweep: folders that its jobs will write into, with ``asked`` and ``overrides`` of each."""
        self._write(
            folders={os.path.relpath(folder, self._folder): dict(job) for folder, job in jobs.items()}
        )

    def done(self, summary: Mapping[str, Any]) -> None:
        """The chain ended well; ``cut`` of its summary says how its network was cut by this and earlier runs."""
        asked = {**self._values["asked"], **summary.get("cut", {})}
        self._end(status="done", **summary, asked=asked)

    def failed(self, reason: str) -> None:
        """The run ended with an error."""
        self._end(status="failed", error=reason)

    def left(self) -> None:
        """The jobs of a sweep are in a queue; the last of them goes on from here."""
        self._end(status="starting")

    def killed(self) -> None:
        """The run was stopped from outside."""
        self._end(status="killed", error=STOPPED)

    def _write(self, **values: object) -> None:
        self._values |= {"seconds": round(time.time() - self._started, 1), **values}
        write(self._folder, self._values)

    def _end(self, **values: object) -> None:
        self._write(**values)
        self._lock.release()


def slurm_name() -> str:
    """What SLURM calls this process's job; empty outside of SLURM."""
    array, number = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{number}" if array and number else os.environ.get("SLURM_JOB_ID", "")


def asked(choices: Mapping[str, Any], *, ratio: Any, seed: Any) -> dict[str, Any]:
    """The options of a job, as the table of its sweep names them.

    Args:
        choices: Config group -> chosen option.
        ratio: Fraction to remove.
        seed: Seed.
    """
    return {
        **{group: str(choices.get(group)) for group in GROUPS},
        # not yet checked, so it may be anything
        **{
            name: value if value is None or isinstance(value, int | float) else str(value)
            for name, value in (("ratio", ratio), ("seed", seed))
        },
    }


def read(folder: Path) -> dict[str, Any]:
    """The content of the run's status file; empty if there is none."""
    path = folder / STATUS
    if not path.exists():
        return {}
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def noted_jobs(sweep: Path) -> dict[str, dict[str, Any]] | None:
    """The jobs that a sweep was asked for: folder below its own -> ``asked`` and ``overrides``, if known.

    None where the sweep did not note its jobs, as one whose jobs are chosen while they run.
    """
    noted = read(sweep).get("folders")
    return {str(name): {} for name in noted} if isinstance(noted, list) else noted


def job_folders(sweep: Path) -> list[Path]:
    """The folders of a sweep's jobs in their order, also of those that have not started.

    Jobs of an earlier sweep into the same folder are none; where the sweep did not note its jobs, those with a
    status are all that there are.
    """
    noted = noted_jobs(sweep)
    found = (
        [path.parent for path in sweep.rglob(STATUS)] if noted is None else [sweep / name for name in noted]
    )
    return sorted({*found} - {sweep}, key=lambda folder: (len(str(folder)), folder))


def now(folder: Path) -> dict[str, Any]:
    """The content of the run's status file, with ``killed`` for a run whose process has ended without a word.

    A process of another machine is believed to go on.
    """
    with dead(folder) as is_dead:
        found = read(folder)
    if found.get("status") == "running" and (is_dead or "host" not in found):
        return {**found, "status": "killed", "error": KILLED if is_dead else STOPPED}
    return found


def amend(folder: Path, **values: object) -> None:
    """Change the status of a run whose process cannot do it any more."""
    write(folder, {**read(folder), **values})


@contextmanager
def dead(folder: Path) -> Iterator[bool]:
    """Whether the file says ``running`` although the process, one of this machine, has ended.

    Within the block, no other process can find it dead as well, or start a run in this folder.
    """
    if not _says_running(folder):
        yield False
        return
    try:
        lock = durable.Lock(folder / LOCK).acquire(timeout=0)
    except (Timeout, OSError):  # the lock file of another user belongs to a run that we may not end
        yield False
        return
    with lock:
        yield _says_running(folder)  # it may have written its end just before it released the lock


def _says_running(folder: Path) -> bool:
    status = read(folder)
    return status.get("status") == "running" and status.get("host") == platform.node()


def write(folder: Path, values: Mapping[str, Any]) -> None:
    """Replace the run's status file."""
    with durable.replacing(folder / STATUS, is_shared=True) as file:
        file.write(json.dumps(values, indent=1).encode())
