"""Results of the same inputs that other code, other library versions or another GPU computed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segprune.store import manifest
from segprune.store.fingerprint import DIGITS, TASK_DIGITS, Fingerprint, as_json, task_of


class Kin(NamedTuple):
    """A finished result of the same inputs by other code or another GPU.

    Attributes:
        fingerprint: Of the result.
        changed: Code and libraries that differ now, such as ``code of training/ and torch (2.9.0, now 2.9.1)``.
    """

    fingerprint: str
    changed: str


def kin(folder: Path, key: str) -> Sequence[Kin]:
    """The kin of a result, the newest first.

    Args:
        folder: Of all results of the stage.
        key: Fingerprint of the result; without known inputs it has no kin.
    """
    mine = key.inputs if isinstance(key, Fingerprint) else None
    if mine is None:
        return ()
    paths = (path for path in folder.glob(f"{key[:TASK_DIGITS]}*") if len(path.name) == DIGITS)
    found = [one for path in paths if path.name != key and (one := manifest.read(path)) is not None]
    found.sort(key=lambda one: one.created, reverse=True)
    same = [(one, one.inputs or {}) for one in found if _task(one.inputs or {}) == _task(mine)]
    return [Kin(fingerprint=one.fingerprint, changed=changed(inputs, mine)) for one, inputs in same]


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs of the code, the libraries and the GPU of two inputs, in words."""
    rooms = [
        room if room.endswith(".py") or " " in room else f"{room}/"
        for room, *_ in _unequal(then, now, "code")
    ]
    libraries = [
        f"{name} ({old or 'not used'}, now {new or 'not used'})"
        for name, old, new in _unequal(then, now, "libraries")
    ]
    gpu = [
        f"the GPU's {name} ({old or 'unknown'}, now {new or 'unknown'})"
        for name, old, new in _unequal(then, now, "gpu")
    ]
    return " and ".join([*([f"code of {', '.join(rooms)}"] if rooms else []), *libraries, *gpu])


def _unequal(
    then: Mapping[str, Any], now: Mapping[str, Any], kind: str
) -> list[tuple[str, str | None, str | None]]:
    old, new = then.get(kind) or {}, now.get(kind) or {}
    return [
        (name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _task(inputs: Mapping[str, Any]) -> str:
    return as_json(task_of(inputs))
