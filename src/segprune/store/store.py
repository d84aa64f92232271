"""The content-addressed store: a result is found by a hash of everything that can change it.

A result is a folder ``<stage>/<fingerprint>``. Beside it may be ``.lock``, held while it is computed; ``.partial``,
not finished yet; ``.damaged-<n>``, moved aside because it is damaged; ``.removed-<n>``, about to be deleted.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from filelock import AcquireReturnProxy, Timeout
from safetensors import SafetensorError

from segprune import durable, stop
from segprune.errors import StoreError
from segprune.store import manifest
from segprune.store.fingerprint import SCHEMA, Fingerprint
from segprune.store.kin import kin

log = logging.getLogger(__name__)
NOTE = "schema"
"""A file of the store's folder: the schema whose users were told of results of other ones."""


@dataclass(frozen=True)
class Entry:
    """A finished result.

    Attributes:
        folder: Where its files are.
        was_reused: Whether it existed before.
        accepted: Its stage, if its code, libraries or GPU are not those that run now.
    """

    folder: Path
    was_reused: bool
    accepted: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Its own fingerprint, which enters the fingerprints of all results that depend on it."""
        return self.folder.name


@dataclass(frozen=True, kw_only=True)
class Store:
    """Results by stage and fingerprint, safe to share between processes.

    Attributes:
        root: Folder of the store.
        reuse: Whether existing results are used; if not, they are computed again and replaced, once per run.
        accept: Stages whose results are accepted even if other code, library versions or another GPU computed them.
        on_use: Called with ``<stage>/<fingerprint>`` when an entry is first asked for.
        used: Entries requested through this object, in order: ``<stage>/<fingerprint>``.
        computed: Those of them that were computed.
        chosen: Requested entry -> the fingerprint of the entry that is given for it.
        said: Messages about such results, so that each is logged once.
    """

    root: Path
    reuse: bool
    accept: Collection[str] = ()
    on_use: Callable[[str], None] = lambda _: None
    used: list[str] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)

    def get(self, stage: str, key: str, make: Callable[[Path], None]) -> Entry:
        """The entry of this stage and fingerprint; computed once, by the first process that requests it.

        ``make`` fills a folder that becomes the entry in one rename. If it is interrupted, the folder stays as it
        is, and the next call of ``make`` gets it back, to continue from what it holds. A damaged entry is moved
        aside, reported and computed again. A store that cannot be written can be read.

        Raises:
            StoreError: The disk of the store fails; finished entries stay as they are.
        """
        name = f"{stage}/{self.choice(stage, key)}"
        if name not in self.used:
            self.used.append(name)
            self.on_use(name)
        if accepted := self.accepted_for(stage, key):
            return Entry(self.root / name, was_reused=True, accepted=accepted)
        try:
            return self._get(stage, key, make)
        except OSError as error:
            if not self._is_mine(error):
                raise
            raise self._refusal(name, error) from error
        except SafetensorError as error:
            code = re.search(r"\(os error (\d+)\)", str(error))  # its words for an error of the disk
            if code is None:
                raise
            raise self._refusal(name, OSError(int(code[1]), os.strerror(int(code[1])))) from error

    def choice(self, stage: str, key: str) -> str:
        """The fingerprint of the result that ``get`` gives: that of an accepted one, or the one that is asked for.

        It is an input of every result that depends on this one. Once chosen, it stays.
        """
        name = f"{stage}/{key}"
        if name not in self.chosen:
            self.chosen[name] = self._accepted(stage, key) or key
        return self.chosen[name]

    def accepted_for(self, stage: str, key: str) -> frozenset[str]:
        """The stage, if a result by others (see ``accept``) is given for this fingerprint; else nothing."""
        return frozenset() if self.choice(stage, key) == key else frozenset({stage})

    @property
    def accepted(self) -> tuple[str, ...]:
        """The stages of which results by others (see ``accept``) were given."""
        names = {name.partition("/")[0] for name, key in self.chosen.items() if not name.endswith(key)}
        return tuple(sorted(names))

    def _accepted(self, stage: str, key: str) -> str | None:
        folder = self.root / stage
        if stage not in self.accept or (folder / key).exists():
            return None
        for other in kin(folder, key):
            if not damage(folder / other.fingerprint):
                self._say(
                    f"{stage}: store.accept takes the result {other.fingerprint}, although {other.changed} changed"
                )
                return other.fingerprint
        return None

    def _say_why(self, stage: str, key: str) -> None:
        """Say what changed since a result of the same inputs was made."""
        for other in kin(self.root / stage, key)[:1]:
            self._say(
                f"{stage}: computed again, because {other.changed} changed. The old result is kept; "
                f"store.accept=[{stage}] takes it."
            )

    def _say(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            log.warning("%s", text)

    def _get(self, stage: str, key: str, make: Callable[[Path], None]) -> Entry:
        folder = self.root / stage / key
        may_reuse = self.reuse or f"{stage}/{key}" in self.computed
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = _locked(folder)
        except OSError:
            if may_reuse and folder.exists() and not damage(folder):
                return Entry(folder, was_reused=True)
            raise
        with lock:
            if may_reuse and folder.exists() and not _set_aside_damaged(folder):
                return Entry(folder, was_reused=True)
            unfinished = folder.with_suffix(".partial")
            if not self.reuse and unfinished.exists():
                shutil.rmtree(unfinished)
            # a sealed one was interrupted between its last file and its name: only the name is missing
            was_made = manifest.is_sealed(unfinished) and not damage(unfinished)
            if not was_made:
                if self.reuse:
                    self._say_why(stage, key)
                unfinished.mkdir(exist_ok=True)
                durable.sync(folder.parent)
                make(unfinished)
                inputs = key.inputs if isinstance(key, Fingerprint) else None
                manifest.seal(unfinished, schema=SCHEMA, stage=stage, fingerprint=key, inputs=inputs)
            _publish(unfinished, folder)
            if not was_made:
                self.computed.append(f"{stage}/{key}")
            return Entry(folder, was_reused=was_made)

    def _refusal(self, name: str, error: OSError) -> StoreError:
        remedy = durable.REMEDIES.get(error.errno or 0, "Mend that")
        return StoreError(
            f"the result {name} of the store {self.root} cannot be read or written: {error.strerror or error} "
            f"({error.filename or self.root / name}). {remedy}, or choose another place with "
            "store.root=.... Finished results stay as they are; the same command continues from there."
        )

    def _is_mine(self, error: OSError) -> bool:
        """Whether an error is about the store, not about something else that ``make`` reads or writes."""
        if error.filename is None:
            return error.errno in durable.REMEDIES
        path = Path(os.fsdecode(error.filename))
        return path.is_relative_to(self.root) or path in self.root.parents


def say_what_is_not_used(root: Path) -> None:
    """Say, once per store, how many of its results another version of the store wrote; they are not used."""
    note, now = root / NOTE, str(SCHEMA)
    if not root.is_dir() or (note.exists() and note.read_text(encoding="utf-8") == now):
        return
    names = (path for path in root.glob("*/*") if re.fullmatch(r"[0-9a-f]{16,}", path.name))
    count = sum((one := manifest.read(path)) is None or one.schema != SCHEMA for path in names)
    if count:
        log.warning(
            "%d results were written by another version of the store and are not used; those needed are computed "
            "again. `segprune store --store %s list` shows them",
            count,
            root,
        )
    with (
        contextlib.suppress(OSError),
        durable.replacing(note, is_shared=True) as file,
    ):  # if it cannot be noted, it is said again
        file.write(now.encode())


def damage(folder: Path) -> str:
    """What is wrong with a finished folder; empty if nothing is known to be wrong."""
    if not manifest.is_sealed(folder):
        return ""  # finished before there were manifests
    return manifest.damage(folder, stage=folder.parent.name, fingerprint=folder.stem)


def set_aside(folder: Path, why: Literal["damaged", "removed"]) -> Path:
    """Rename a folder so that it is no result any more; gives its new path."""
    number = 1
    while (aside := folder.with_name(f"{folder.stem}.{why}-{number}")).exists():
        number += 1
    os.replace(folder, aside)
    return aside


def lock_of(folder: Path) -> durable.Lock:
    """The lock of an entry, for one process at a time; it ends with its process."""
    return durable.Lock(folder.with_suffix(".lock"))


def _locked(folder: Path) -> AcquireReturnProxy[durable.Lock]:
    lock, is_told = lock_of(folder), False
    while True:
        try:
            return lock.acquire(timeout=1)
        except Timeout:
            stop.if_asked()
            if not is_told:
                log.info("waiting for another job that computes %s/%s", folder.parent.name, folder.name)
            is_told = True


def _set_aside_damaged(folder: Path) -> bool:
    if not (reason := damage(folder)):
        return False
    aside = set_aside(folder, "damaged")
    log.warning(
        "%s was damaged (%s); it was moved aside to %s and is computed again", folder, reason, aside.name
    )
    return True


def _publish(unfinished: Path, folder: Path) -> None:
    """Give a sealed folder its name; one that has the name goes after the new one is there."""
    for path in unfinished.rglob(manifest.SCRATCH):
        path.unlink()
    old = set_aside(folder, "removed") if folder.exists() else None
    try:
        os.replace(unfinished, folder)
    except OSError:
        if old is not None:
            os.replace(old, folder)
        raise
    durable.sync(folder.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
