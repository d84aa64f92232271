"""From a YAML of a config group to a checked object.

It names a callable (``_target_``) and gives its arguments. The callable's signature is the schema: an unknown,
missing or mistyped key is refused with its full name before any work starts.
"""

import importlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from segprune.config.explain import explain, switches_for_numbers
from segprune.errors import ConfigError

Node = dict[str, Any]


def component(
    node: Node,
    key: str,
    *,
    extensions: Sequence[str] = (),
    runtime: Sequence[str] = (),
    keys: Mapping[str, str] = MappingProxyType({}),
) -> Callable[..., Any]:
    """The callable that a group's YAML names, with its arguments checked and bound.

    Args:
        node: The group's keys and values.
        key: Where it stands in the configuration, for messages.
        extensions: Packages besides segprune whose callables may be named.
        runtime: Arguments that the caller gives later, not YAML.
        keys: Place of an argument -> the key that people type for it, where the two differ.

    Raises:
        ConfigError: The target is foreign or missing, or an argument is unknown, missing or out of range.
    """
    function = target(node, key, extensions)
    _refuse_foreign_factory(node, key, extensions)
    schema = _schema(function, f"{key}._target_ is {node['_target_']!r}", tuple(runtime))
    names = list(schema.model_fields)
    typed_as = {name: keys.get(f"{key}.{name}", f"{key}.{name}") for name in node if name != "_target_"}
    given = {name: _built(node[name], place, extensions) for name, place in typed_as.items()}
    try:
        checked = schema.model_validate(given)
    except ValidationError as error:
        raise ConfigError(explain(error, f"{key}.", schema.model_fields, given)) from error
    except TypeError as error:  # keys without a _target_ where a part is wanted whose class is abstract
        parts = [typed_as[name] for name, value in given.items() if isinstance(value, dict)]
        raise ConfigError(
            f"{' or '.join(parts) or key} cannot be made of its keys alone ({error}); give it a _target_, or an "
            "option of its group."
        ) from error
    arguments = {name: _at_home(getattr(checked, name)) for name in names}
    refuse_switches(given, arguments, f"{key}.")

    def call(**late: object) -> Any:
        try:
            return function(**arguments, **late)
        except ConfigError as error:
            places = "|".join(map(re.escape, (key, *typed_as.values())))
            if re.search(rf"\b({places})(\.| is |=)", str(error)):
                raise
            raise ConfigError(f"{key}: {error}") from error

    return call


def _at_home(value: object) -> object:
    """A path with ``~`` as a shell reads it."""
    return value.expanduser() if isinstance(value, Path) else value


@cache
def _schema(function: Callable[..., Any], made: str, runtime: tuple[str, ...]) -> type[BaseModel]:
    """The arguments that YAML gives to a callable, as a model that checks them; ``made`` is for messages."""
    try:
        hints = typing.get_type_hints(
            function.__init__ if inspect.isclass(function) else function, include_extras=True
        )
        names = [name for name in inspect.signature(function).parameters if name not in runtime]
        untyped = [name for name in names if name not in hints]
        if untyped:
            raise ConfigError(
                f"{made}, whose arguments {', '.join(untyped)} have no type. Annotate every argument: its type is "
                "the rule that values are checked against."
            )
        fields: dict[str, Any] = {name: (hints[name], ...) for name in names}
        config = ConfigDict(
            extra="forbid", arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False
        )
        return create_model("Arguments", __config__=config, **fields)
    except (NameError, PydanticUserError, SchemaError) as error:
        raise ConfigError(
            f"{made}, whose arguments cannot be checked: {str(error).splitlines()[0]}. Give them names without a "
            "leading underscore, and types that exist while the program runs."
        ) from error


def _built(value: object, key: str, extensions: Sequence[str]) -> object:
    """A value with a ``_target_`` of its own becomes the object that this callable gives."""
    if isinstance(value, dict) and "_target_" in value:
        return component(value, key, extensions=extensions)()
    return value


def target(node: Node, key: str, extensions: Sequence[str]) -> Callable[..., Any]:
    """The callable that a group's ``_target_`` names.

    Raises:
        ConfigError: It is outside of segprune and the extensions, or cannot be imported or called.
    """
    path, packages = node.get("_target_"), ("segprune", *extensions)
    if not isinstance(path, str) or path.count(".") == 0 or path.split(".")[0] not in packages:
        raise ConfigError(
            f"{key}._target_ is {path!r}; it must be a dotted path into {' or '.join(packages)}. To use your own "
            "package, name it in extensions=[...]."
        )
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}._target_ is {path!r}, which cannot be imported: {error}") from error
    except Exception as error:  # whatever somebody's module raises
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{key}._target_ is {path!r}, whose module cannot be imported: {reason}") from error
    try:
        inspect.signature(found)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{key}._target_ is {path!r}, which is not callable with named arguments; name a class or function."
        ) from error
    return typing.cast(Callable[..., Any], found)


def _refuse_foreign_factory(node: Node, key: str, extensions: Sequence[str]) -> None:
    factory, packages = node.get("factory"), ("segprune", *extensions)
    if not isinstance(factory, str) or not node["_target_"].startswith("segprune."):
        return
    package = factory.partition(":")[0].partition(".")[0]
    if package not in packages:
        raise ConfigError(
            f"{key}.factory is {factory!r}; it must be package.module:name in {' or '.join(packages)}. To use "
            f"another package, name it: 'extensions=[{','.join((*extensions, package))}]'."
        )


def refuse_switches(given: Node, taken: Node, prefix: str) -> None:
    """Check that no number was given as ``true`` or ``false``.

    Args:
        given: Values as they were given.
        taken: The same as they were understood.
        prefix: Of their keys, for messages.

    Raises:
        ConfigError: One was.
    """
    wrong = [
        line for name in given for line in switches_for_numbers(given[name], taken[name], f"{prefix}{name}")
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))


def import_extensions(names: Sequence[str]) -> None:
    """Import the user's packages, so that what they register is known.

    Raises:
        ConfigError: One cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever somebody's package raises
            raise ConfigError(
                f"extensions is {list(names)}, but {name} cannot be imported: {type(error).__name__}: {error}"
            ) from error
