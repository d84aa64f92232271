"""The name of a result: a hash of everything that can change it."""

import hashlib
import json
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


def digests(node: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of every file that a value of a configuration names, such as pretrained weights."""
    files = {
        key: Path(value) for key, value in node.items() if isinstance(value, str) and Path(value).is_file()
    }
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}


def as_json(values: Mapping[str, Any]) -> str:
    """The text that is hashed: the same for the same values in any order."""
    return json.dumps(values, sort_keys=True, default=str)


def _sha256(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(as_json(values).encode()).hexdigest()
