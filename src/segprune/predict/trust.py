"""Which code a description of a network may name: segprune's own models, and packages that the caller names."""

import functools
import importlib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from segprune.errors import CheckpointError, ConfigError
from segprune.model.contract import SegmentationNet
from segprune.store.code import HOME, callables_of

OWN_MODELS = "segprune.model."
LIBRARIES = {
    "segprune.model.smp": "segmentation_models_pytorch",
    "segprune.model.transformers_named": "transformers",
}
"""Modules of this package's models that hand arguments of the description to a library -> the library."""
OPENS = {"auto_map", "backbone", "checkpoint_path", "trust_remote_code", "use_pretrained_backbone"}
"""Arguments by which such a library reads a file, asks its hub or takes code from there."""
LOOSE = {"_target_", "weights", "checkpoint", "allow"}
"""Keys of a model that are not looked at when a checkpoint is read: it has its own weights."""
PYTHON, HYDRA = (
    "segprune.load(folder, extensions={0}), or segprune predict --extension {1}",
    "'extensions={0}'",
)
"""How a caller names packages: all of them, or one more."""


def refuse_unnamed(node: Mapping[str, Any], place: Path, extensions: Sequence[str], remedy: str) -> None:
    """Let a file choose among the models of this package, and the caller choose all other code.

    Only the models and what the caller named are imported.

    Args:
        node: How the file says that its network is built.
        place: The file's folder, for messages.
        extensions: Packages of the caller whose code may build the network.
        remedy: How the caller names another one, ``PYTHON`` or ``HYDRA``.

    Raises:
        CheckpointError: The file names other code, or has a library read a file or ask the net.
        ConfigError: Code that it may name cannot be imported.
    """

    def refuse(what: str, package: str) -> NoReturn:
        named = remedy.format([*extensions, package], package)
        raise CheckpointError(f"{place} {what}. If you trust it, name its package: {named}.")

    for module, name in callables_of(dict(node)):
        code = f"names {module}.{name} as the code that builds its network"
        foreign, library = _asked(module, name, extensions)
        if foreign == HOME:
            raise CheckpointError(
                f"{place} {code}, which is none of segprune's models. If you trust it, use the version that wrote "
                "it."
            )
        if foreign:
            refuse(f"{code}, which is of {foreign} and none of segprune's models", foreign)
        for key, value in (
            _opening("", {key: node[key] for key in node if key not in LOOSE}) if library else ()
        ):
            refuse(
                f"gives {library} {key}={value!r:.80}, which is code, a file or a place on the net", library
            )


def _asked(module: str, name: str, extensions: Sequence[str]) -> tuple[str, str]:
    """What a callable needs that the caller did not name, each empty where that is nothing.

    Returns:
        The package that it is of, ``HOME`` where that is no model of this package; the library that a model gives
        arguments to.

    Raises:
        ConfigError: There is no such callable.
    """
    package = module.partition(".")[0]
    if package not in (HOME, *extensions) or (package == HOME and not module.startswith(OWN_MODELS)):
        return package, ""
    found = _named(module, name)
    source = str(getattr(found, "__module__", None) or type(found).__module__)
    home = source.partition(".")[0]  # what a module has only imported is none of its own
    if home != HOME:
        return "" if home in extensions else home, ""
    if not _is_model(found):
        return HOME, ""
    library = LIBRARIES.get(source, "")
    return "", "" if library in extensions else library


def _named(module: str, name: str) -> object:
    """What a name stands for, without arguments that are bound to it.

    Raises:
        ConfigError: There is nothing.
    """
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever somebody's module raises
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"the network is built by {module}.{name}, which cannot be imported: {reason}"
        ) from error
    while isinstance(found, functools.partial):
        found = found.func
    return found


def _is_model(found: object) -> bool:
    """Whether something is one of this package's models: a function from a number of classes to a network."""
    if not inspect.isfunction(found) or not found.__module__.startswith(OWN_MODELS):
        return False
    hints = typing.get_type_hints(found)
    gives = hints.get("return")
    return "num_classes" in hints and isinstance(gives, type) and issubclass(gives, SegmentationNet)


def _opening(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Arguments with which a library would read a file or ask for one, wherever in a value."""
    if (value and key in OPENS) or (isinstance(value, str) and re.search(r"[/\\:]", value)):
        yield key, value
    for name, one in value.items() if isinstance(value, Mapping) else ():
        yield from _opening(name, one)
    for one in value if isinstance(value, list) else ():
        yield from _opening(key, one)
