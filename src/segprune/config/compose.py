"""From the composed configuration to checked objects.

A YAML of a config group names a callable (``_target_``) and gives its arguments. The callable's signature is
the schema: an unknown, missing or mistyped key is refused with its full name before any work starts.
"""

import importlib
import importlib.machinery
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from segprune.config.explain import explain, switches_for_numbers
from segprune.config.protocol import CHAIN
from segprune.errors import ConfigError
from segprune.status import GROUPS

Node = dict[str, Any]
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def _rounded(value: object) -> object:
    """The value without rounding errors: the second one of ``range(0.2,0.6,0.1)`` is 0.30000000000000004."""
    return round(value, 6) if isinstance(value, float) else value


class StoreSettings(BaseModel):
    """Where finished stages are kept and whether they are used again."""

    model_config = ConfigDict(extra="forbid")

    root: Path
    reuse: bool
    accept: list[str]


class TeacherSettings(BaseModel):
    """Who teaches where the group ``distill`` asks for a teacher."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: Path | Annotated[list[Path], Field(min_length=1)] | None
    model: Node | None
    teaches: Annotated[list[str], Field(min_length=1)]
    cache_logits: bool


class Settings(BaseModel):
    """The root of the configuration."""

    model_config = ConfigDict(extra="forbid")

    dataset: Node
    model: Node
    loss: Node
    train: Node
    pruner: Node
    budget: Node
    finetune: Node
    distill: Node
    teacher: TeacherSettings
    eval: Node
    tracking: Node
    calibration: Node
    ratio: Annotated[float, BeforeValidator(_rounded), Field(ge=0, lt=1)] | None
    phase_epochs: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    between: Node
    init: Literal["inherited", "scratch"]
    stretch: bool
    seed: Annotated[int, Field(ge=0)]
    stages: Annotated[list[Annotated[str, Field(pattern=r"^\w+$")]], Field(min_length=1)]
    stage: dict[str, Node]
    checkpoint: Path | None
    baseline: Path | None
    device: str
    gpus: Annotated[int, Field(ge=1, le=64)]
    threads: Annotated[int, Field(ge=1, le=1024)] | None  # OpenMP ends the process if it cannot start them
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"]
    store: StoreSettings
    paths: Node
    extensions: list[str]
    log_checkpoint: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """What Hydra knows about this run.

    Attributes:
        choices: Config group -> chosen option, e.g. ``{"pruner": "sirfp"}``.
        folder: The run's output folder.
        overrides: What was typed on the command line for it.
    """

    choices: Mapping[str, str]
    folder: Path
    overrides: Sequence[str]


def job_of_this_process() -> Job:
    """The job Hydra is running.

    Raises:
        ConfigError: A group has no option, or several.
    """
    config = HydraConfig.get()
    for group in (*GROUPS, "loss", "train", "finetune", "eval", "tracking"):
        if group not in config.runtime.choices:
            raise ConfigError(f"{group} has no option, or several; give it one: {group}=<option>.")
    return Job(
        choices={name: str(choice) for name, choice in config.runtime.choices.items() if "/" not in name},
        folder=Path(config.runtime.output_dir),
        overrides=typed(config.overrides.task),
    )


def typed(overrides: Sequence[str]) -> list[str]:
    """Overrides as they were typed: ``finetune.lr=${train.lr}`` is the text of one, not a value to look up."""
    found = OmegaConf.to_container(typing.cast(ListConfig, overrides), resolve=False)
    return typing.cast(list[str], found)


def settings_of(cfg: DictConfig) -> tuple[Settings, Node]:
    """The checked root and the whole configuration as plain values.

    Raises:
        ConfigError: A mandatory value is missing, an interpolation leads nowhere, or a root key is wrong.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key
        raise ConfigError(f"{key} is missing; give {key}=... on the command line.") from error
    except OmegaConfBaseException as error:
        wanted = origins(cfg).get(error.full_key or "", "")
        if isinstance(error, InterpolationKeyError) and wanted.partition(".")[0] in Settings.model_fields:
            raise ConfigError(f"{wanted} is missing; give {wanted}=... on the command line.") from error
        reason = str(error.msg or error).splitlines()[0]
        raise ConfigError(f"{error.full_key or 'the configuration'}: {reason}.") from error
    if not isinstance(plain, dict):
        raise ConfigError("the configuration is not a mapping of keys to values")
    values: Node = {str(key): value for key, value in plain.items() if key not in ("experiment", "sweep")}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, "", list(Settings.model_fields), values)) from error
    _refuse_switches(values, dict(settings), "")
    _refuse_missing_packages(settings.extensions)
    _refuse_impossible_chain(settings)
    _refuse_baseline(settings)
    return settings, values


def origins(cfg: DictConfig) -> dict[str, str]:
    """Argument of a stage, as ``stage.train.schedule`` -> the key that gives its whole value, as ``train``.

    A person types that key, so messages about the value name it.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    stages: Mapping[str, Node] = plain.get("stage", {}) if isinstance(plain, dict) else {}
    return {
        f"stage.{word}.{name}": found[1]
        for word, node in stages.items()
        for name, value in node.items()
        if isinstance(value, str) and (found := _REFERENCE.fullmatch(value))
    }


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
    schema = _schema(function, f"{key}._target_ is {node['_target_']!r}", tuple(runtime))
    names = list(schema.model_fields)
    typed_as = {name: keys.get(f"{key}.{name}", f"{key}.{name}") for name in node if name != "_target_"}
    given = {name: _built(node[name], place, extensions) for name, place in typed_as.items()}
    try:
        checked = schema.model_validate(given)
    except ValidationError as error:
        raise ConfigError(explain(error, f"{key}.", names, given)) from error
    except TypeError as error:  # keys without a _target_ where a part is wanted whose class is abstract
        parts = [typed_as[name] for name, value in given.items() if isinstance(value, dict)]
        raise ConfigError(
            f"{' or '.join(parts) or key} cannot be made of its keys alone ({error}); give it a _target_, or an "
            "option of its group."
        ) from error
    arguments = {name: _at_home(getattr(checked, name)) for name in names}
    _refuse_switches(given, arguments, f"{key}.")

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


def target_modules(node: object) -> Iterator[str]:
    """The modules of all callables that a node names, wherever in it."""
    if isinstance(node, dict) and isinstance(node.get("_target_"), str):
        yield node["_target_"].rpartition(".")[0]
        if isinstance(node.get("factory"), str):  # package.module:name
            yield node["factory"].partition(":")[0]
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from target_modules(value)


def _refuse_switches(given: Node, taken: Node, prefix: str) -> None:
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


def _refuse_missing_packages(extensions: Sequence[str]) -> None:
    for name in extensions:
        if importlib.machinery.PathFinder.find_spec(name) is None:
            raise ConfigError(
                f"extensions is {list(extensions)}, but Python finds no package {name!r}. Install it, or "
                "start with PYTHONPATH=<the folder that it is in>."
            )


def _refuse_baseline(settings: Settings) -> None:
    making = [word for word in settings.stages if word in CHAIN and word != "eval"]
    if settings.baseline is not None and (making or settings.checkpoint is None):
        raise ConfigError(
            f"baseline is {settings.baseline}, which a checkpoint is compared with, without training or cutting "
            f"anything, but stages is {settings.stages} and checkpoint is {settings.checkpoint}. Give "
            "'stages=[eval]' and checkpoint=<what to compare>, as segprune eval baseline=... candidate=... does."
        )


def _refuse_impossible_chain(settings: Settings) -> None:
    words, known = settings.stages, [word for word in settings.stages if word in CHAIN]
    for word in words:
        if not re.fullmatch(r"[\w-]+", word):
            raise ConfigError(
                f"stages is {words}, but {word!r} cannot be the name of a stage: give letters, digits, _ and -."
            )
        if word not in settings.stage:
            raise ConfigError(
                f"stages is {words}, but there is no stage.{word}. Add +stage@stage.{word}={word} to the command, "
                f"or '/stage@stage.{word}: {word}' to the defaults of the file that sets stages."
            )
    if len(set(words)) < len(words) or known != sorted(known, key=CHAIN.index):
        raise ConfigError(
            f"stages is {words}; each stage may occur once, in the order {', '.join(CHAIN)}. Leave out what you do "
            "not need; stages of your own may be anywhere in the list."
        )
