"""The content-addressed store: a result is found by a hash of everything that can change it."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
SCHEMA = 1
"""Raised whenever code changes what a stage computes from the same inputs."""


def fingerprint(stage: str, inputs: Mapping[str, Any]) -> str:
    """16 hex digits of a hash over the stage's name, its inputs (plain JSON values) and the schema."""
    text = json.dumps({"schema": SCHEMA, "stage": stage, **inputs}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Entry:
    """A finished result.

    Attributes:
        folder: Where its files are.
        was_reused: Whether it was there before it was asked for.
    """

    folder: Path
    was_reused: bool


@dataclass(frozen=True, kw_only=True)
class Store:
    """Results by stage and fingerprint, safe to share between processes.

    Attributes:
        root: Folder of the store.
        reuse: Whether existing results are used; if not, they are made again and replaced, once per store.
        computed: What was made, not found, through this object: ``<stage>/<fingerprint>``.
    """

    root: Path
    reuse: bool
    computed: list[str] = field(default_factory=list)

    def get(self, stage: str, key: str, make: Callable[[Path], None]) -> Entry:
        """The entry of this stage and fingerprint; made once, by the first process that asks.

        ``make`` fills a folder that becomes the entry in one rename. If it is interrupted, the folder stays as
        it is, and the next call of ``make`` gets it back, to go on from what it holds.
        """
        folder = self.root / stage / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        name = f"{stage}/{key}"
        with self._lock(folder):
            if folder.exists() and (self.reuse or name in self.computed):
                return Entry(folder, was_reused=True)
            unfinished = folder.with_suffix(".partial")
            if not self.reuse:
                shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(exist_ok=True)
            make(unfinished)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(unfinished, folder)
            self.computed.append(name)
            return Entry(folder, was_reused=False)

    @contextmanager
    def _lock(self, folder: Path) -> Iterator[None]:
        """One process at a time; says when it waits for another."""
        lock = FileLock(folder.with_suffix(".lock"))
        try:
            lock.acquire(timeout=1)
        except Timeout:
            log.info("waiting for another job that makes %s/%s", folder.parent.name, folder.name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
