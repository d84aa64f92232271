"""The kinds of transforms that a net.json may name: a word is looked up, nothing that a file names is imported."""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from segprune import transform
from segprune.errors import CheckpointError, ConfigError
from segprune.transform.contract import Transform

TransformT = TypeVar("TransformT", bound=Transform)
_KINDS: dict[str, type[Transform]] = {}


def register(kind: type[TransformT]) -> type[TransformT]:
    """Let checkpoints hold transforms of this class; a decorator.

    The kinds of this package are all known. One of a user's package is known once its module is imported: the
    package's ``__init__`` imports it, and ``extensions`` names the package.

    Raises:
        ConfigError: Another class has its word.
    """
    other = _KINDS.get(kind.kind, kind)
    if _name(other) != _name(kind):
        raise ConfigError(
            f"{_name(kind)} is a transform of kind {kind.kind!r}, and so is {_name(other)}; give one of them "
            "another word."
        )
    _KINDS[kind.kind] = kind
    return kind


def to_record(made_by: Transform) -> dict[str, Any]:
    """A transform as a JSON object, with the package that knows its kind.

    Raises:
        ConfigError: Its kind is not registered, so that no checkpoint with it could be read.
    """
    kind = type(made_by)
    if _kinds().get(kind.kind) is not kind:
        raise ConfigError(
            f"{_name(kind)} is not registered, so a network made by it could not be read again; decorate the class "
            "with segprune.transform.registry.register."
        )
    return {**made_by.to_json(), "kind": kind.kind, "package": _package(kind)}


def from_record(record: Mapping[str, Any], *, source: Path) -> Transform:
    """The transform of a JSON object that ``to_record`` made.

    Args:
        record: The object; a file may hold anything.
        source: The file, for messages.

    Raises:
        CheckpointError: Its kind is not known here, or its values are damaged.
    """
    word, package = record.get("kind"), record.get("package")
    if not isinstance(word, str) or not isinstance(package, str):
        raise CheckpointError(f"{source} holds a transform without kind and package; it is damaged")
    if not package.isidentifier():
        raise CheckpointError(
            f"{source} holds a transform of {package!r:.80}, which cannot be the name of a package; it is damaged"
        )
    kind = _kinds().get(word)
    if kind is None or _package(kind) != package:
        raise CheckpointError(_unknown(word, package, source))
    try:
        return kind.from_json({key: value for key, value in record.items() if key not in ("kind", "package")})
    except ValueError as error:
        raise CheckpointError(
            f"{source} holds a damaged transform of kind {word!r}: {_reason(error)}"
        ) from error


def _unknown(word: str, package: str, source: Path) -> str:
    made_by = f"{source} was made by a transform of kind {word!r:.80}"
    if package == transform.__package__.partition(".")[0]:
        known = ", ".join(sorted(word for word, kind in _kinds().items() if _package(kind) == package))
        return f"{made_by}; this version knows {known}. Use the version that wrote it."
    return (
        f"{made_by} of the package {package!r:.80}, which is not known here; give extensions=[{package:.80}], or "
        "import that package first. Its __init__ must import the class."
    )


def _kinds() -> Mapping[str, type[Transform]]:
    """Word -> class, with those of all files of this room."""
    for module in pkgutil.iter_modules(transform.__path__, f"{transform.__name__}."):
        importlib.import_module(module.name)
    return _KINDS


def _package(kind: type[Transform]) -> str:
    return kind.__module__.partition(".")[0]


def _name(kind: type[Transform]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = "".join(f"{part}: " for part in first["loc"])
    return f"{where}{first['input']!r:.80}; {first['msg'].lower()}"
