"""``hydra/launcher=processes``: every job of a sweep is an operating system process of its own.

A job reports by its status file. If it died before it could, the launcher writes into the file how it died.
"""

import logging
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from segprune import status
from segprune.shortage import is_about_memory
from segprune.sweep import plugin
from segprune.sweep.board import Board
from segprune.sweep.composer import Composer
from segprune.sweep.grid import labels
from segprune.sweep.handover import command, hand_over
from segprune.sweep.pool import OUTPUT, End, Pool, Task, gpus_for

log = logging.getLogger(__name__)
REASON_CHARACTERS = 160


class JobLauncher(Launcher):
    """What launchers share that start the script again for each job: what to start, and telling how it ends."""

    runs_by: type[Any]
    """What the settings of the launcher are those of: a frozen dataclass."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the settings.

        Raises:
            ConfigError: One is out of its range.
        """
        from segprune.config.component import component

        del task_function  # a job starts the same script and finds it there
        node = {"_target_": f"{self.runs_by.__module__}.{self.runs_by.__qualname__}", **self._settings}
        self._by: Any = component(node, "hydra.launcher")()
        self._context, self._config, self._left = hydra_context, config, 0
        self._board = Board()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs; gives Hydra what it needs to go on, as if all went well: the status files say what did."""
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        named = zip(job_overrides, labels([filter_overrides(job) for job in job_overrides]), strict=True)
        compose = Composer(self._config, self._context.config_loader)
        tasks = [self._task(compose, number, *job) for number, job in enumerate(named, initial_job_idx)]
        HydraConfig.instance().set_config(self._config)
        self._left, self._overrides = len(tasks), job_overrides
        self._run(dict(enumerate(tasks, initial_job_idx)))
        return [JobReturn(overrides=job, status=JobStatus.COMPLETED) for job in job_overrides]

    def _run(self, tasks: Mapping[int, Task]) -> None:
        """Run the jobs, by their numbers."""
        raise NotImplementedError

    def _grace_s(self) -> float | None:
        """How long a job may take to end when its parent is gone; None: it goes on without one."""
        raise NotImplementedError

    def _task(self, compose: Composer, number: int, overrides: Sequence[str], label: str) -> Task:
        job = compose(overrides).whole
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        HydraConfig.instance().set_config(job)
        folder = Path(str(job.hydra.sweep.dir), str(job.hydra.sweep.subdir)).absolute()
        return Task(
            label=f"#{number} {label}".rstrip(),
            asked=status.asked(job.hydra.runtime.choices, ratio=job.ratio, seed=job.seed),
            command=command(self._config, number, overrides, folder),
            environment={
                **hand_over(self._config, grace_s=self._grace_s()),
                "PYTHONUNBUFFERED": "1",
                "PYTHONFAULTHANDLER": "1",  # a segmentation fault says where it was
            },
            folder=folder,
        )

    def _before(self, task: Task) -> None:
        status.write(task.folder, {"asked": task.asked, "status": "starting"})
        self._started(task)

    def _started(self, task: Task) -> None:
        log.info("%s: started", task.label)
        self._board.add(task.label, task.folder / OUTPUT)

    def _after(self, task: Task, end: End) -> None:
        self._left -= 1
        self._board.remove(task.label)
        found = _settled(task.folder, end)
        status.write(task.folder, found)
        is_done = found["status"] == "done"
        seconds = found.get("seconds") if end.seconds is None else end.seconds
        log.log(
            logging.INFO if is_done else logging.ERROR,
            "%s: %s%s (%d left), %s",
            task.label,
            "done" if is_done else found["status"].upper(),
            "" if seconds is None else f" after {seconds:.0f} s",
            self._left,
            _miou(found) if is_done else f"{_in_short(found['error'])}; see {task.folder / OUTPUT}",
        )


class ProcessLauncher(JobLauncher):
    """Starts the jobs here, tells how each one ends, and writes the status of those that died."""

    runs_by = Pool

    def _grace_s(self) -> float | None:
        grace_s: float = self._by.grace_s
        return grace_s

    def _run(self, tasks: Mapping[int, Task]) -> None:
        pool: Pool = self._by
        if not pool.gpus and _leave_the_gpu_open(self._config, self._overrides):
            pool = replace(pool, gpus=gpus_for(pool.jobs, int(OmegaConf.select(self._config, "gpus") or 1)))
        log.info("%d jobs, %d at a time, below %s", len(tasks), pool.jobs, self._config.hydra.sweep.dir)
        pool.run(list(tasks.values()), self._before, self._board.refresh, self._after)


def register() -> None:
    """Make the launcher known to Hydra."""
    plugin.register(ProcessLauncher)


def _leave_the_gpu_open(config: DictConfig, job_overrides: Sequence[Sequence[str]]) -> bool:
    """Whether no job names its GPU; one that does has to see all of them."""
    named = {text.partition("=")[0] for job in job_overrides for text in job}
    return OmegaConf.select(config, "device") in ("auto", "cuda") and not {"device", "gpus"} & named


def _settled(folder: Path, end: End) -> dict[str, Any]:
    """The status of a job that is over; what it said itself stands, unless it said nothing or was stopped late."""
    found = status.read(folder)
    is_silent = found["status"] in ("starting", "running")
    if is_silent:
        found.pop("seconds", None)  # up to when it last said something
    took = {} if end.seconds is None else {"seconds": end.seconds}
    if is_silent and end.was_stopped:
        return {**found, "status": "killed", "error": status.STOPPED, **took}
    if is_silent or (end.was_overdue and found["status"] != "done"):
        error = end.fault or "ended without a result"
        if end.code and not end.was_overdue:
            error += _last_words(folder / OUTPUT, is_signal=end.code < 0)
        return {**found, "status": "failed", "error": error, **took}
    return found


def _last_words(path: Path, *, is_signal: bool) -> str:
    """What a dead job said last about memory, or else at all; after a signal that would be the stack."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    words = [line for line in said if is_about_memory(line)] or ([] if is_signal else said or ["no output"])
    return f": {words[-1]}" if words else ""


def _in_short(error: str) -> str:
    """One line; the table at the end has all of it."""
    return textwrap.shorten(error.strip().rstrip("."), REASON_CHARACTERS, placeholder="...")


def _miou(found: dict[str, Any]) -> str:
    rows = found.get("rows")
    miou = rows[-1]["miou_percent"] if rows else None
    return "not evaluated" if miou is None else f"mIoU {miou:.2f} %"
