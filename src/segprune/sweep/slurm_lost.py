"""Jobs of SLURM that died on another machine, or while the command that had started them was gone."""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from segprune import durable, status
from segprune.sweep.slurm_queue import ended, lost, remedy

log = logging.getLogger(__name__)
ROOM, JOBS = "slurm", "jobs.json"
"""Folder of a sweep with its scripts and what SLURM says of each job; and a file there, folder -> name of a job."""
GOING_ON = ("starting", "running")


def note_names(sweep: Path, names: Mapping[Path, str]) -> None:
    """Keep the names that the queue gave to the jobs of a sweep.

    Args:
        sweep: Its folder.
        names: Folder of a job -> its name.
    """
    kept = {str(folder.relative_to(sweep)): name for folder, name in names.items()}
    with durable.replacing(sweep / ROOM / JOBS) as file:
        file.write(json.dumps(kept, indent=1).encode())


def close_lost(folders: Iterable[Path]) -> list[Path]:
    """Write the status of jobs that are in the queue no more and did not say how they ended; gives their folders.

    Args:
        folders: Of runs and jobs.
    """
    mine = [folder for folder in folders if folder.stat().st_uid == os.getuid()]  # others' may be hidden
    names = {folder: _name(folder) for folder in mine if _goes_on(folder)}
    gone = lost([name for name in names.values() if name])
    closed = []
    for folder, name in names.items():
        if name in gone and _goes_on(folder):  # it may have told its end just before it left the queue
            how = ended(name).how
            error = f"its SLURM job {name} ended{f' as {how}' if how else ''} without a word{remedy(how)}"
            status.amend(folder, status="killed", error=error)
            log.info("%s: %s; its record now says so", folder, error)
            closed.append(folder)
    return closed


def _goes_on(folder: Path) -> bool:
    return status.read(folder).get("status") in GOING_ON


def _name(folder: Path) -> str:
    """Name of a job in the queue; empty if it is none of SLURM's."""
    own = status.read(folder).get("slurm")
    if own:
        return str(own)
    for sweep in folder.parents[:2]:
        path = sweep / ROOM / JOBS
        if path.exists():
            found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
            return found.get(str(folder.relative_to(sweep)), "")
    return ""
