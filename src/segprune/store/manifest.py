"""The files of a finished folder with their checksums, so that damage is seen before anything is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from segprune import durable

NAME = "manifest.json"
ITSELF = "manifest.*"
"""The manifest, and what a kill may have left of one that was being written."""
SCRATCH = "progress.*"
"""Files of this name help an interrupted work to go on and are no part of what it makes."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Size and checksum of a file.

    Attributes:
        size: In bytes.
        sha256: 64 hex digits.
    """

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of a finished folder.

    Attributes:
        schema: Of the store that made it.
        stage: Which stage made it.
        fingerprint: Hash of everything that made it.
        created: When it was finished, UTC.
        inputs: What the fingerprint is a hash of; None if unknown.
        files: Every file by its path below the folder.
    """

    schema: int
    stage: str
    fingerprint: str
    created: str
    inputs: Mapping[str, Any] | None
    files: Mapping[str, Mark]


_MANIFEST = TypeAdapter(Manifest)


def seal(
    folder: Path, *, schema: int, stage: str, fingerprint: str, inputs: Mapping[str, Any] | None
) -> None:
    """Write the manifest of a folder, after everything that it names is on the disk."""
    others = {*folder.rglob(SCRATCH), *folder.glob(ITSELF)}
    paths = sorted(path for path in folder.rglob("*") if path not in others)
    for path in paths:
        durable.sync(path)
    manifest = {
        "schema": schema,
        "stage": stage,
        "fingerprint": fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": inputs,
        "files": {
            path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": durable.sha256(path)}
            for path in paths
            if path.is_file()
        },
    }
    with durable.replacing(folder / NAME) as file:
        file.write(json.dumps(manifest, indent=1, default=str).encode())


def is_sealed(folder: Path) -> bool:
    """Whether a folder has a manifest; those finished before there were manifests have none."""
    return (folder / NAME).exists()


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder; None without a readable one."""
    try:
        return _MANIFEST.validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def damage(folder: Path, *, stage: str, fingerprint: str) -> str:
    """What is wrong with a sealed folder; empty when every file is there, bit for bit.

    Files that are not in the manifest are ignored.

    Args:
        folder: The folder.
        stage: Whose result is expected there.
        fingerprint: Likewise.

    Raises:
        OSError: A file cannot be read at all.
    """
    try:
        manifest = _MANIFEST.validate_json((folder / NAME).read_bytes())
    except ValidationError as error:
        return f"{NAME} is not one: {error.errors()[0]['msg'].lower()}"
    if (manifest.stage, manifest.fingerprint) != (stage, fingerprint):
        return f"it is the result {manifest.stage}/{manifest.fingerprint}"
    found = (_wrong(folder / name, name, mark) for name, mark in manifest.files.items())
    return next((text for text in found if text), "")


def _wrong(path: Path, name: str, mark: Mark) -> str:
    if not path.is_file():
        return f"{name} is missing"
    if (size := path.stat().st_size) != mark.size:
        return f"{name} has {size} bytes instead of {mark.size}"
    if durable.sha256(path) != mark.sha256:
        return f"{name} has another content than it was written with"
    return ""
