"""The composed configuration as checked settings, and what Hydra knows of the job."""

import importlib.machinery
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from segprune.config.component import Node, refuse_switches
from segprune.config.explain import explain
from segprune.config.places import places_of, refuse_two
from segprune.config.protocol import CHAIN
from segprune.errors import ConfigError
from segprune.status import GROUPS

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
        places: What comes before them, so that it finds its configurations: flags and ``hydra.searchpath``.
    """

    choices: Mapping[str, str]
    folder: Path
    overrides: Sequence[str]
    places: Sequence[str] = ()


def job_of_this_process() -> Job:
    """The job Hydra is running.

    Raises:
        ConfigError: A group has no option, or several; relative paths would begin elsewhere; or a file
            of the user hides another one.
    """
    config = HydraConfig.get()
    for group in (*GROUPS, "loss", "train", "finetune", "eval", "tracking"):
        if group not in config.runtime.choices:
            raise ConfigError(f"{group} has no option, or several; give it one: {group}=<option>.")
    if config.job.chdir:
        raise ConfigError(
            "hydra.job.chdir is true, with which relative paths such as dataset.root=data would begin in the "
            f"folder of the run. Here they begin where the command is typed, in {config.runtime.cwd}. Leave "
            "hydra.job.chdir out, or give hydra.job.chdir=false; what a run writes is in its folder anyway."
        )
    refuse_two(typing.cast(typing.Any, config))
    return Job(
        choices={name: str(choice) for name, choice in config.runtime.choices.items() if "/" not in name},
        folder=Path(config.runtime.output_dir),
        overrides=typed(config.overrides.task),
        places=places_of(typing.cast(typing.Any, config)),
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
        raise ConfigError(explain(error, "", Settings.model_fields, values)) from error
    refuse_switches(values, dict(settings), "")
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
