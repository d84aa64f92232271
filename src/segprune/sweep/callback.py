"""A sweep: the tracked parent of its jobs, one status file per job, and the table at the end.

Jobs may run in other processes, so they hand their results over as files, never as memory.
"""

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from segprune import status, stop
from segprune.config.refusal import refusal
from segprune.errors import ConfigError, SegpruneError
from segprune.importing import importing
from segprune.status import JobRecord
from segprune.sweep import grid, handover
from segprune.sweep.later import told

if TYPE_CHECKING:
    from segprune.tracking.contract import Tracking

log = logging.getLogger(__name__)
PARENT_VARIABLE = "SEGPRUNE_PARENT_RUN_ID"
PLAN = "segprune.sweep.dry_run.plan"
SOME_FAILED = 3
INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_opened: list["_Sweep"] = []
"""The sweep this process has started: none or one."""


class SweepCallback(Callback):
    """Marks killed runs as killed, checks all jobs and opens the sweep's tracked run; or shows the plan."""

    def on_run_start(self, config: DictConfig, **_: object) -> None:
        """Refuse ``hydra/launcher=plan`` for a single run; give a job of a sweep the time of its sweep."""
        if handover.is_job():
            handover.keep_time(config)
            return
        if config.hydra.launcher._target_ == PLAN:
            raise SystemExit("hydra/launcher=plan shows what a sweep would do; add -m to the command.")
        HydraConfig.instance().set_config(config)
        with _refusing():
            _close_the_dead(config)

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Open the sweep's tracked run and pass its id to the jobs in the environment."""
        HydraConfig.instance().set_config(config)
        with _refusing():
            self._start(config)

    def _start(self, config: DictConfig) -> None:
        from segprune.sweep import kubernetes, launcher, plugin, slurm
        from segprune.sweep.controls import ControlSweeper

        if config.hydra.launcher._target_ == PLAN:
            with importing():
                from segprune.sweep.dry_run import plan

            log.info("\n%s", plan(config))
            raise SystemExit(0)
        jobs = list(grid.checked_jobs(config)) if grid.is_known(config) else None
        stop.if_asked()
        launcher.register()
        slurm.register()
        kubernetes.register()
        plugin.register(ControlSweeper)
        _close_the_dead(config)
        _opened.append(_Sweep(config, jobs))
        os.environ[PARENT_VARIABLE] = _opened[0].tracker.run_id


@contextmanager
def _refusing() -> Iterator[None]:
    """Hydra turns exceptions of callbacks into warnings and goes on, but not SystemExit."""
    try:
        yield
    except SegpruneError as error:
        raise SystemExit(str(error)) from error
    except Exception as error:
        told = refusal(error)
        if told is None:
            log.exception("it cannot start")
        raise SystemExit(told or f"{type(error).__name__}: {error}") from error


@contextmanager
def recorded_job(cfg: DictConfig) -> Iterator[JobRecord]:
    """The record of the run or job Hydra is running; one that is stopped inside is recorded as killed."""
    config = HydraConfig.get()
    # nothing is checked yet, so keys may be missing or lead nowhere
    found = {key: OmegaConf.select(cfg, key, throw_on_resolution_failure=False) for key in ("ratio", "seed")}
    asked = status.asked(config.runtime.choices, **found)
    record = JobRecord(Path(config.runtime.output_dir), asked)
    try:
        yield record
    except (KeyboardInterrupt, SystemExit):
        if record.is_running:
            record.killed()
        raise


def parent_run_id() -> str | None:
    """The tracked run of the sweep this job belongs to; None when nothing is tracked."""
    return os.environ.get(PARENT_VARIABLE) or None


def leave() -> str:
    """Leave this process's sweep to a later one, which is told the id of its tracked run; gives that id."""
    os.environ.pop(PARENT_VARIABLE, None)
    return _opened.pop().leave() if _opened else ""


def finish(code: int) -> int:
    """Print and track the results of this process's sweep; 3 if some of its jobs failed.

    Args:
        code: Exit code so far.
    """
    if not _opened:
        return 0
    os.environ.pop(PARENT_VARIABLE, None)
    return _opened.pop().finish(code)


class _Sweep:
    """The parent run and where its jobs leave their status."""

    def __init__(self, config: DictConfig, jobs: Sequence[grid.GridJob] | None) -> None:
        from segprune.config.compose import typed
        from segprune.config.places import places_of
        from segprune.tracking.contract import RunStart

        self.folder = Path(str(config.hydra.sweep.dir))
        self.overrides = overrides = " ".join([*places_of(config.hydra), *typed(config.hydra.overrides.task)])
        self.tracking = tracking_of(config)
        start = RunStart(
            name=time.strftime("sweep %m-%d %H:%M"),
            kind="sweep",
            folder=self.folder,
            tags={"sweep.dir": str(self.folder), "sweep.overrides": overrides},
            note=f"`python run.py -m {overrides}`",
            run_id=(later.run_id or None) if (later := told()) else None,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._record = JobRecord(self.folder, {"overrides": overrides})
        if jobs is not None:
            if told() is None:  # else they are over
                grid.clear(jobs)
            self._record.sweeps(
                {job.folder: {"asked": job.asked, "overrides": list(job.overrides)} for job in jobs}
            )
        try:
            self.tracker = self.tracking.open(start)
        except SegpruneError as error:
            self._record.failed(str(error))
            raise
        self._record.tracked(self.tracker.run_id)
        self.tracker.params(_asked(config, typed(config.hydra.overrides.task)))

    def leave(self) -> str:
        """End here without a result; the jobs go on."""
        self.tracker.close("FINISHED")
        self._record.left()
        return self.tracker.run_id

    def finish(self, code: int) -> int:
        from segprune.sweep.ending import outcomes_of, tell

        if not any((job / status.STATUS).exists() for job in status.job_folders(self.folder)):
            self.tracker.close("FAILED")
            self.tracking.discard(self.tracker.run_id)
            if code:
                self._record.failed("no job was started")
            else:  # a launcher may start none on purpose
                self._record.done({"jobs": 0, "failed": 0})
            return 0
        outcomes = outcomes_of(self.folder)
        tell(self.folder, outcomes, self.overrides, self.tracker)
        counts = Counter(outcome.status for outcome in outcomes)
        unfinished = sum(outcome.is_open for outcome in outcomes)
        numbers = {"jobs": len(outcomes), "failed": counts["failed"], "unfinished": unfinished}
        self.tracker.metrics(
            {f"sweep/{name}": number for name, number in (numbers | {"reused": counts["reused"]}).items()}
        )
        was_stopped = code in INTERRUPTED
        has_failed = counts["failed"] + counts["killed"] + counts["running"] > 0
        self.tracking.replay(self.folder)  # what jobs that were killed had not sent
        self.tracking.close_children(self.tracker.run_id)
        self.tracker.close("KILLED" if was_stopped else "FAILED" if has_failed or code else "FINISHED")
        if was_stopped:
            self._record.killed()
        else:
            self._record.done(numbers)
        if self.tracker.url_hint:
            log.info("%s", self.tracker.url_hint)
        return SOME_FAILED if has_failed and not was_stopped else 0


def _asked(config: DictConfig, overrides: Sequence[str]) -> dict[str, str]:
    """The options of the groups, and every override, with all values where it has several.

    ``finetune@between=long`` is the option of ``between``; MLflow takes no ``@`` in a name.
    """
    from segprune.run.describe import NAMED

    asked = {f"{group}.name": str(config.hydra.runtime.choices.get(group)) for group in NAMED}
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group, _, place = key.partition("@")
        asked[f"{place or group}.name" if place or group in NAMED else key] = value
    return asked


def _close_the_dead(config: DictConfig) -> None:
    """Send what earlier runs could not send, and mark those that were killed as killed."""
    from segprune.tracking.journal import journals

    outputs = OmegaConf.select(config, "paths.outputs")
    if not isinstance(outputs, str) or not outputs:
        raise ConfigError(
            f"paths.outputs is {outputs!r}; it must be a folder: give paths.outputs=/some/folder."
        )
    rooms = [Path(outputs, room) for room in ("runs", "sweeps")]
    if any(map(journals, rooms)):
        for room in rooms:
            tracking_of(config).replay(room)
    files = [path for room in rooms for path in room.rglob(status.STATUS)]
    for folder in [path.parent for path in files]:
        try:
            _close_if_dead(config, folder)
        except (OSError, ValueError) as error:  # not of this run, which can do without
            log.warning("%s cannot be read or repaired: %s", folder / status.STATUS, error)
    _close_lost(config, [path.parent for path in files])


def _close_lost(config: DictConfig, folders: Sequence[Path]) -> None:
    """Mark the jobs that SLURM has no more."""
    from segprune.sweep.slurm_lost import close_lost

    if told() is not None or "SLURM_JOB_ID" in os.environ:
        return  # one question for the whole sweep is enough
    try:
        for folder in close_lost(folders):
            if run_id := status.read(folder).get("run_id"):
                tracking_of(config).end(run_id)
    except (OSError, ValueError) as error:
        log.warning("jobs of SLURM cannot be looked after: %s", error)


def _close_if_dead(config: DictConfig, folder: Path) -> None:
    with status.dead(folder) as is_dead:
        if not is_dead:
            return
        run_id = status.read(folder).get("run_id")
        if run_id:
            tracking_of(config).end(run_id)
        status.amend(folder, status="killed", error=status.KILLED)
        log.info("%s was killed while it ran; its record now says so", folder)


def tracking_of(config: DictConfig) -> "Tracking":
    """The experiment tracker of a configuration.

    Raises:
        ConfigError: A setting of it is wrong.
    """
    from segprune.config.component import component

    node: Any = OmegaConf.to_container(config.tracking, resolve=True)
    made: Tracking = component(node, "tracking", extensions=list(config.extensions))()
    return made
