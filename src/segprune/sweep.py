"""A sweep: the tracked parent of its jobs, one status file per job, and the table at the end.

Jobs may run in other processes, so they hand their results over as files, never as memory.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from segprune.errors import ConfigError, SegpruneError

if TYPE_CHECKING:
    from segprune.report.table import Cell

log = logging.getLogger(__name__)
PARENT_VARIABLE = "SEGPRUNE_PARENT_RUN_ID"
STATUS = "status.json"
SOME_FAILED = 3
INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_opened: list["_Sweep"] = []
"""The sweep this process has started: none or one."""


class SweepCallback(Callback):
    """Opens the tracked parent run before the first job starts."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Open the parent and name it to the jobs, wherever they run, through the environment."""
        HydraConfig.instance().set_config(config)
        try:
            refuse_mistakes(config)
            _opened.append(_Sweep(config))
        # Hydra turns exceptions of callbacks into warnings and goes on, but not these
        except SegpruneError as error:
            raise SystemExit(str(error)) from error
        except Exception as error:
            log.exception("the sweep cannot start")
            raise SystemExit(f"{type(error).__name__}: {error}") from error
        os.environ[PARENT_VARIABLE] = _opened[0].tracker.run_id


def refuse_mistakes(config: DictConfig) -> None:
    """Check the configuration of every cell of the grid before any work starts.

    Other sweepers than Hydra's own choose their cells while they run; theirs are checked job by job.

    Raises:
        ConfigError: A cell cannot run; says which one.
    """
    if not str(config.hydra.sweeper._target_).endswith("BasicSweeper"):
        return
    from segprune.app import checked

    loader = GlobalHydra.instance().config_loader()
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=loader)
    overrides = parser.parse_overrides([*params, *config.hydra.overrides.task])
    for batch in BasicSweeper.split_arguments(overrides, max_batch_size=None):
        for cell in batch:
            job = loader.load_sweep_config(config, cell)
            with open_dict(job.hydra.runtime):
                job.hydra.runtime.output_dir = str(config.hydra.sweep.dir)
            HydraConfig.instance().set_config(job)
            try:
                checked(OmegaConf.masked_copy(job, [str(key) for key in job if key != "hydra"]))
            except SegpruneError as error:
                raise ConfigError(
                    f"the job {' '.join(cell)} cannot run, so none was started.\n{error}"
                ) from error
    HydraConfig.instance().set_config(config)


class JobRecord:
    """The status file of one job; written anew at every change."""

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self._path, self._started = folder / STATUS, time.time()
        self._values: dict[str, Any] = {"asked": dict(asked), "pid": os.getpid()}
        self._write(status="running")

    def done(self, summary: Mapping[str, Any]) -> None:
        """The job's chain ended well."""
        self._write(status="done", **summary)

    def failed(self, reason: str) -> None:
        """The job ended with an error."""
        self._write(status="failed", error=reason)

    def killed(self) -> None:
        """The job was stopped from outside."""
        self._write(status="killed", error="stopped before its end")

    def _write(self, **values: object) -> None:
        self._values |= {**values, "seconds": round(time.time() - self._started, 1)}
        unfinished = self._path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(self._values, indent=1), encoding="utf-8")
        os.replace(unfinished, self._path)


@contextmanager
def recorded_job(cfg: DictConfig) -> Iterator[JobRecord]:
    """The record of the job Hydra is running; a job that is stopped inside is recorded as killed."""
    config = HydraConfig.get()
    asked = {
        **{group: str(config.runtime.choices[group]) for group in ("dataset", "model", "pruner", "budget")},
        "ratio": float(cfg.ratio),
        "seed": int(cfg.seed),
    }
    record = JobRecord(Path(config.runtime.output_dir), asked)
    try:
        yield record
    except (KeyboardInterrupt, SystemExit):
        record.killed()
        raise


def parent_run_id() -> str | None:
    """The tracked run of the sweep this job belongs to; None when nothing is tracked."""
    return os.environ.get(PARENT_VARIABLE) or None


def finish(code: int) -> int:
    """Print and track what became of the sweep of this process; 3 when some of its jobs failed.

    Args:
        code: Exit code so far.
    """
    if not _opened:
        return 0
    os.environ.pop(PARENT_VARIABLE, None)
    return _opened.pop().finish(code)


class _Sweep:
    """The parent run and where its jobs leave their status."""

    def __init__(self, config: DictConfig) -> None:
        from segprune.compose import component
        from segprune.tracking.contract import RunStart

        self.folder = Path(str(config.hydra.sweep.dir))
        node: Any = OmegaConf.to_container(config.tracking, resolve=True)
        overrides = " ".join(config.hydra.overrides.task)
        self.tracking = component(node, "tracking", extensions=list(config.extensions))()
        self.tracker = self.tracking.open(
            RunStart(
                name=time.strftime("sweep %m-%d %H:%M"),
                kind="sweep",
                folder=self.folder,
                tags={"sweep.dir": str(self.folder), "sweep.overrides": overrides},
                note=f"`python run.py -m {overrides}`",
            )
        )

    def finish(self, code: int) -> int:
        from segprune.report.table import sweep_table, write_csv

        jobs = self._jobs()
        if not jobs:
            self.tracker.close("FAILED")
            self.tracking.discard(self.tracker.run_id)
            return 0
        cells = [_cell(job) for job in jobs]
        failed = [cell for cell in cells if cell.status == "failed"]
        table = sweep_table(cells)
        log.info("\n%s", table)
        self.tracker.text(table, "sweep_report.txt")
        write_csv([row for cell in cells for row in cell.rows], self.folder / "rows.csv")
        self.tracker.file(self.folder / "rows.csv")
        reused = sum(cell.status == "reused" for cell in cells)
        self.tracker.metrics({"sweep/jobs": len(cells), "sweep/failed": len(failed), "sweep/reused": reused})
        was_stopped = code in INTERRUPTED
        self.tracking.close_children(self.tracker.run_id)
        self.tracker.close("KILLED" if was_stopped else "FAILED" if failed or code else "FINISHED")
        if self.tracker.url_hint:
            log.info("%s", self.tracker.url_hint)
        return SOME_FAILED if failed and not was_stopped else 0

    def _jobs(self) -> list[dict[str, Any]]:
        found = self.folder.glob(f"*/{STATUS}")
        ordered = sorted(found, key=lambda path: (len(path.parent.name), path.parent.name))
        return [json.loads(path.read_text(encoding="utf-8")) for path in ordered]


def _cell(job: Mapping[str, Any]) -> "Cell":
    from segprune.report.row import from_record
    from segprune.report.table import Cell

    is_done = job["status"] == "done"
    return Cell(
        **job["asked"],
        status="failed" if not is_done else "reused" if job["was_reused"] else "done",
        reason="" if is_done else job.get("error", "stopped before its end"),
        rows=tuple(from_record(row) for row in job.get("rows", [])),
    )
