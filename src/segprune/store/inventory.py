"""The folders of the result store, the runs that use them, and removing them.

Lock files stay: they are empty, and removing one while a process waits for it would give two owners.
"""

import logging
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from segprune import status
from segprune.errors import StoreError
from segprune.store.store import damage, lock_of, set_aside

log = logging.getLogger(__name__)
NAME = re.compile(r"([0-9a-f]{16}(?:[0-9a-f]{8})?)(?:\.(partial|damaged|removed)(?:-\d+)?)?")
IN_A_PATH = re.compile(r'/([0-9a-f]{16}(?:[0-9a-f]{8})?)(?=[/\\"])')
"""The name of an entry in a path that is written as JSON."""
STATES = {None: "finished", "partial": "unfinished", "damaged": "damaged", "removed": "left over"}
GOING_ON = ("starting", "running")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A folder of the store.

    Attributes:
        folder: Where it is.
        state: ``finished``, ``unfinished``, ``damaged`` (set aside) or ``left over`` (replaced or removed).
        size: Of its files, in bytes.
        age_days: Since something in it was made, renamed or removed.
    """

    folder: Path
    state: str
    size: int
    age_days: float

    @property
    def name(self) -> str:
        """``<stage>/<fingerprint>``, and what follows it on the disk."""
        return f"{self.folder.parent.name}/{self.folder.name}"


def scan(root: Path) -> Iterator[Found]:
    """The entries of a store and what interruptions have left beside them; nothing else that may be there.

    Raises:
        StoreError: There is no such folder.
    """
    if not root.is_dir():
        raise StoreError(f"{root} is no folder; give the one that holds train/, prune/, ... with --store")
    for folder in sorted(root.glob("*/*")):
        match = NAME.fullmatch(folder.name)
        if match and folder.is_dir():
            yield Found(
                folder=folder,
                state=STATES[match[2]],
                size=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
                age_days=(time.time() - folder.stat().st_mtime) / 86400,
            )


def damage_of(one: Found) -> str:
    """What is wrong with a finished entry; empty if nothing is known to be wrong."""
    try:
        return damage(one.folder)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"


def remove(folder: Path) -> bool:
    """Remove a folder unless its lock is held; it is renamed first, so that half of it is never read."""
    try:
        with lock_of(folder).acquire(timeout=0):
            if folder.exists():
                shutil.rmtree(set_aside(folder, "removed"))
            return True
    except Timeout:
        log.info("%s is in use and stays", folder)
        return False


def is_locked(folder: Path) -> bool:
    """Whether a process is computing the entry now."""
    if not folder.with_suffix(".lock").exists():
        return False
    try:
        lock_of(folder).acquire(timeout=0).lock.release()
    except Timeout:
        return True
    return False


def _begun_with(origin: Path) -> set[str]:
    """The fingerprints in the paths of a run's record, as in those of ``checkpoint`` and ``teacher.checkpoint``."""
    return set(IN_A_PATH.findall(origin.read_text(encoding="utf-8"))) if origin.exists() else set()


def references(outputs: Path) -> set[str]:
    """The fingerprints that runs and jobs of sweeps name: what they made, started from, compared or were taught by.

    Raises:
        StoreError: A run is going on, which has not said yet what it uses; or a file cannot be read; or there
            is none.
    """
    files = [path for room in ("runs", "sweeps") for path in sorted((outputs / room).rglob(status.STATUS))]
    named: set[str] = set()
    for path in files:
        try:
            values = status.read(path.parent)
            named |= {name.split("/")[1] for name in values.get("entries", ())}
            named |= {row["fingerprint"].removesuffix("-raw") for row in values.get("rows", ())}
            named |= _begun_with(path.with_name(status.ORIGIN))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} cannot be read ({error}); repair or remove it") from error
        with status.dead(path.parent) as is_dead:
            goes_on = values.get("status") in GOING_ON and not is_dead
        if goes_on:
            raise StoreError(
                f"the run of {path} is still going on, and which results it uses is not known yet. Wait for its "
                "end, or remove the file if that run no longer exists."
            )
    if not named:
        raise StoreError(
            f"no {status.STATUS} below {outputs}/runs or {outputs}/sweeps names an entry, so every entry would be "
            "removed. Give the folder of the runs with --outputs."
        )
    return named
