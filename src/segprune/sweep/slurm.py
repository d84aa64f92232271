"""``hydra/launcher=slurm``: every job of a sweep is a task of a SLURM job array, which starts the same script.

The jobs say what they do in their status files, as everywhere; the queue says which of them are over. A job that is
preempted, or comes to its time limit, ends in order, goes into the queue again and continues from what is stored.
"""

import logging
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from segprune import status, stop
from segprune.errors import ConfigError
from segprune.sweep import grid, plugin
from segprune.sweep.later import Later, command, told
from segprune.sweep.launcher import JobLauncher
from segprune.sweep.pool import OUTPUT, End, Task
from segprune.sweep.slurm_lost import ROOM, note_names
from segprune.sweep.slurm_queue import MORE_TIME, Ended, Slurm, SlurmError, cancel, ended, queue, remedy

log = logging.getLogger(__name__)
STOPPED = "stopped"
"""A file beside them: no job goes into the queue again."""
CANCEL_SECONDS, SLEEP_SECONDS = 120.0, 0.2


class SlurmLauncher(JobLauncher):
    """Puts the jobs into the queue, tells how each one ends, and writes the status of those that died."""

    runs_by = Slurm

    def setup(self, *, config: DictConfig, **given: Any) -> None:
        """Check the settings.

        Raises:
            ConfigError: One is out of its range, SLURM is not here, a job would have too few GPUs, or jobs of
                several machines would share a file of SQLite.
        """
        super().setup(config=config, **given)
        refuse_sqlite(config)
        refuse_few_gpus(config, self._by.gpus, "SLURM gives a job")

    def _grace_s(self) -> float | None:
        return None

    def _run(self, tasks: Mapping[int, Task]) -> None:
        slurm: Slurm = self._by
        if (later := told()) is not None:
            for number, task in tasks.items():
                self._over(task, later.jobs[number], was_stopped=False)
            return
        makers = _makers(self._config) if slurm.makers_first else {}
        self._queue(tasks, makers, self._room(tasks))

    def _room(self, tasks: Mapping[int, Task]) -> Path:
        """The folder with the scripts of the jobs, which are ``starting`` from now on."""
        slurm: Slurm = self._by
        room = Path(str(self._config.hydra.sweep.dir), ROOM).absolute()
        room.mkdir(parents=True, exist_ok=True)
        (room / STOPPED).unlink(missing_ok=True)  # of an earlier sweep in this folder
        (room / "job.sh").write_text(array_script(room, slurm))
        for number, task in tasks.items():
            task.folder.mkdir(parents=True, exist_ok=True)
            (task.folder / OUTPUT).touch()
            status.write(task.folder, {"asked": task.asked, "status": "starting"})
            (room / f"{number}.sh").write_text(job_script(task, slurm.cpus))
        return room

    def _queue(self, tasks: Mapping[int, Task], makers: Mapping[int, int], room: Path) -> None:
        """Put the jobs into the queue and see to their end."""
        slurm: Slurm = self._by
        live, unsent, fault = dict[int, str](), dict(tasks), ""
        try:
            for maker in [None, *sorted({*makers.values()})]:
                numbers = [number for number in tasks if makers.get(number) == maker]
                after = None if maker is None else f"{live[maker]}_{maker}"
                array = slurm.submit(room / "job.sh", numbers, after)
                for number in numbers:
                    live[number] = array
                    del unsent[number]
                names = {tasks[number].folder: f"{array}_{number}" for number, array in live.items()}
                note_names(room.parent, names)
                wait = "" if after is None else f", after {after}, which makes what they share"
                log.info(
                    "SLURM job %s has %d of the jobs%s, below %s", array, len(numbers), wait, room.parent
                )
            if slurm.wait:
                self._follow(tasks, live)
            else:
                self._leave(room, live)
        except Exception as error:
            fault = str(error) or type(error).__name__
            raise
        finally:
            for task in unsent.values():
                end = End(seconds=None, code=0, fault=fault, was_overdue=False, was_stopped=not fault)
                self._after(task, end)
            if live:
                self._cancel(tasks, live, room)

    def _leave(self, room: Path, live: dict[int, str]) -> None:
        """Have a last job tell what became of the others; nothing is left to cancel here."""
        from segprune.sweep.callback import leave

        slurm: Slurm = self._by
        later = Later(leave(), {number: f"{array}_{number}" for number, array in live.items()})
        (room / "report.sh").write_text(report_script(room.parent, slurm, later))
        arrays = sorted({*live.values()})
        live.clear()
        last = replace(slurm, gpus=0).submit(room / "report.sh", (), ":".join(arrays))
        log.info(
            "SLURM job %s writes the table and the report when they are over; to stop all: scancel %s",
            last,
            " ".join([*arrays, last]),
        )

    def _follow(self, tasks: Mapping[int, Task], live: dict[int, str]) -> None:
        """Until no job is left; what is over is taken from ``live``."""
        started = set[int]()
        due, is_answered = 0.0, True
        while live:
            stop.if_asked()
            self._board.refresh()
            time.sleep(min(SLEEP_SECONDS, self._by.poll_s))
            if time.monotonic() < due:
                continue
            due = time.monotonic() + self._by.poll_s
            try:
                there, is_answered = queue(sorted({*live.values()})), True
            except SlurmError as error:
                if is_answered:
                    log.warning("%s The jobs go on, and SLURM is asked again.", error)
                is_answered = False
                continue
            for number in list(live):
                self._look(number, tasks[number], there.get(number), live, started)

    def _look(
        self,
        number: int,
        task: Task,
        there: tuple[str, str] | None,
        live: dict[int, str],
        started: set[int],
    ) -> None:
        """Tell what became of a job since the last look.

        Args:
            number: Of the job.
            task: The job.
            there: Its state in the queue and why it waits; None if it is over.
            live: Number -> array; a job that is over is taken from it.
            started: Numbers of those that run.
        """
        if there is None:
            self._over(task, f"{live.pop(number)}_{number}", was_stopped=False)
        elif there[0] == "RUNNING" and number not in started:
            started.add(number)
            self._started(task)
        elif there[0] == "PENDING" and number in started:
            started.remove(number)
            self._board.remove(task.label)
            log.info("%s: waits in the queue again (%s)", task.label, there[1])

    def _over(self, task: Task, name: str, *, was_stopped: bool) -> None:
        gone = Ended("", None) if was_stopped else ended(name)
        found, how = status.read(task.folder), gone.how
        was_told = found["status"] == "killed" and not was_stopped
        known = remedy(how, f"it was {status.STOPPED}. {MORE_TIME}" if was_told else "")
        fault = f"its SLURM job {name} ended{f' as {how}' if how else ''}{known}"
        if was_told:
            status.write(task.folder, {**found, "status": "failed", "error": fault})
        code = 0 if known else 1  # else its last words may tell what was wrong
        end = End(seconds=gone.seconds, code=code, fault=fault, was_overdue=False, was_stopped=was_stopped)
        self._after(task, end)

    def _cancel(self, tasks: Mapping[int, Task], live: Mapping[int, str], room: Path) -> None:
        """Take what is left from the queue, and wait for its end; without an answer say how to do it later."""
        arrays = sorted({*live.values()})
        log.info("cancelling SLURM job %s", ", ".join(arrays))
        try:
            (room / STOPPED).touch()
            cancel([f"{array}_{number}" for number, array in live.items()])
            until = time.monotonic() + CANCEL_SECONDS
            while {*queue(arrays)} & {*live} and time.monotonic() < until:
                time.sleep(min(SLEEP_SECONDS, self._by.poll_s))
        except (SlurmError, OSError) as error:
            log.warning(
                "%s Jobs may still wait or run; to stop them once SLURM answers: scancel %s",
                error,
                " ".join(arrays),
            )
        for number, array in live.items():
            self._over(tasks[number], f"{array}_{number}", was_stopped=True)


def array_script(room: Path, slurm: Slurm) -> str:
    """What each task of the array runs: the job, which goes into the queue again when it was told to end.

    One that was cancelled does not, as it is not ``RUNNING`` any more; a preempted one SLURM itself puts there.
    """
    step = f'srun --ntasks=1 --cpus-per-task={slurm.cpus} --kill-on-bad-exit=1 bash "$room/$SLURM_ARRAY_TASK_ID.sh"'
    lines = [
        "#!/bin/bash",
        "trap : TERM  # it is for the job; this script waits for its end",
        f"room={shlex.quote(str(room))}",
        *slurm.setup,
        step,
        "code=$?",
        f'if [ $code = 143 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {slurm.requeue} ] \\',
        f'    && [ ! -e "$room/{STOPPED}" ] \\',
        '    && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then',
        '  scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def job_script(task: Task, cpus: int) -> str:
    """One job; what it says goes behind what it said before it had to be started again.

    Args:
        task: The job.
        cpus: Cores that it is given.
    """
    exports = [f"export {name}={shlex.quote(value)}" for name, value in task.environment.items()]
    lines = [
        "#!/bin/bash",
        *exports,
        f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{cpus}}}"',
        f"cd {shlex.quote(os.getcwd())} || exit 1",
        f"exec {shlex.join(task.command)} < /dev/null >> {shlex.quote(str(task.folder / OUTPUT))} 2>&1",
    ]
    return "\n".join(lines) + "\n"


def report_script(folder: Path, slurm: Slurm, later: Later) -> str:
    """What the last job of a sweep runs that nobody waits for."""
    lines = [
        "#!/bin/bash",
        *slurm.setup,
        *(f"export {name}={shlex.quote(value)}" for name, value in later.variable().items()),
        f"cd {shlex.quote(os.getcwd())} || exit 1",
        f"exec {shlex.join(command(folder))} < /dev/null",
    ]
    return "\n".join(lines) + "\n"


def register() -> None:
    """Make the launcher known to Hydra."""
    plugin.register(SlurmLauncher)


def _makers(config: DictConfig) -> dict[int, int]:
    """Number of a job -> that of the one that makes the first result which both need."""
    from segprune.sweep.dry_run import makers

    return makers(config) if grid.is_known(config) else {}


def refuse_sqlite(config: DictConfig) -> None:
    """Check that jobs of several machines do not write into one file of SQLite.

    Raises:
        ConfigError: They would.
    """
    from segprune.sweep.callback import tracking_of

    path = getattr(tracking_of(config), "file", None)
    if path is not None:
        raise ConfigError(
            f"jobs on several machines cannot write into one file of SQLite, which {path} is: start a server as "
            "docs/shared_server.md says and give its address (MLFLOW_TRACKING_URI or tracking.uri), or take "
            "tracking=silent."
        )


def refuse_few_gpus(config: DictConfig, given: int, whose: str) -> None:
    """Check that a job gets as many GPUs as it trains on.

    Raises:
        ConfigError: It does not.
    """
    gpus = int(OmegaConf.select(config, "gpus") or 1)
    if 1 < gpus > given and OmegaConf.select(config, "device") != "cpu":
        raise ConfigError(
            f"gpus is {gpus}, but hydra.launcher.gpus is {given}, which is what {whose}. Give "
            f"hydra.launcher.gpus={gpus}."
        )
