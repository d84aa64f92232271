"""The name of a result: a hash of everything that can change it."""

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = 3
"""Part of every fingerprint; raised when the inputs or the files of an entry mean something else than before.

An edit of code that computes needs no raise: the code is among the inputs.
"""
MADE_BY = ("code", "libraries", "gpu")
"""The inputs that say what computes a result, see ``code_of`` and ``gpu``; the others say what is computed."""
TASK_DIGITS, DIGITS = 16, 24


class Fingerprint(str):
    """24 hex digits, and what they are a hash of.

    The first 16 tell what is computed, the last 8 by which code, libraries and GPU.
    """

    inputs: Mapping[str, Any] | None = None


def fingerprint(stage: str, inputs: Mapping[str, Any]) -> Fingerprint:
    """The hash of a stage's name, its inputs (plain JSON values) and the schema."""
    made_by = {name: inputs[name] for name in MADE_BY if name in inputs}
    name = _sha256({"schema": SCHEMA, "stage": stage, **task_of(inputs)})[:TASK_DIGITS]
    key = Fingerprint(name + _sha256(made_by)[: DIGITS - TASK_DIGITS])
    key.inputs = inputs
    return key


def task_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that say what is computed, by whatever code."""
    return {name: value for name, value in inputs.items() if name not in MADE_BY}


def digests(value: object, key: str = "") -> dict[str, str]:
    """Dotted key -> SHA-256 of every file that a configuration names, such as pretrained weights.

    Of a folder that a path with a ``/`` names, all files below it count, with their names.

    Args:
        value: Texts, paths, and lists and mappings of them, however deep; other values name no file.
        key: Where it stands.
    """
    if isinstance(value, Mapping):
        below = [(f"{key}.{name}" if key else str(name), one) for name, one in value.items()]
    elif isinstance(value, list | tuple):
        below = [(f"{key}.{place}", one) for place, one in enumerate(value)]
    else:
        found = _of_named(str(value)) if isinstance(value, str | Path) else None
        return {key: found} if found else {}
    return {name: found for place, one in below for name, found in digests(one, place).items()}


def _of_named(name: str) -> str | None:
    """The digest of a file or folder; ``None`` of a text that names none."""
    try:
        if os.path.isfile(name):
            return _of_file(name, _stamp(name))
        if os.sep in name and os.path.isdir(name):
            files = sorted(path for path in Path(name).rglob("*") if path.is_file())
            return _sha256({path.relative_to(name).as_posix(): _of_named(str(path)) for path in files})
    except ValueError:  # a text with a zero byte
        pass
    return None


def _stamp(name: str) -> tuple[int, ...]:
    """What a file has of its own as long as nobody writes to it."""
    found = os.stat(name)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.cache
def _of_file(name: str, stamp: tuple[int, ...]) -> str:  # noqa: ARG001 - is what makes it read again
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_json(values: Mapping[str, Any]) -> str:
    """The text that is hashed: the same for the same values in any order."""
    return json.dumps(values, sort_keys=True, default=str)


def _sha256(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(as_json(values).encode()).hexdigest()
