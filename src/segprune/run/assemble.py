"""From the checked configuration to a run: its stages and its network; nothing is read or built yet."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from segprune.checkpoint import checkpoint
from segprune.checkpoint.ancestry import Ancestry
from segprune.config import control
from segprune.config.component import Node, component, import_extensions, target
from segprune.config.compose import Job, Settings, job_of_this_process, origins, settings_of
from segprune.config.protocol import FOR_SWEEPS
from segprune.dataset.contract import SegData
from segprune.errors import CheckpointError, ConfigError
from segprune.measure.passes import Passes
from segprune.model.contract import SegmentationNet
from segprune.model.initial import initial
from segprune.predict.predictor import EXPORTED
from segprune.run.naming import labels, model_name, past_of, run_name
from segprune.run.place import checkpoint_folder
from segprune.run.taught import refuse_nobody_to_teach
from segprune.stage.contract import Stage
from segprune.stage.facts import RowFacts
from segprune.store.code import code_of, modules_of, target_modules
from segprune.tracking.contract import Tracking

log = logging.getLogger(__name__)
INITIAL = initial.__module__
"""Draws the weights that every network begins with, so it is behind all results."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run whose every argument was checked; nothing has been read, built or tracked yet.

    Attributes:
        name: Shown in the runs table.
        job: What Hydra knows about it.
        settings: The checked root of its configuration.
        values: The whole configuration as plain values.
        stages: In order.
        keys: Argument of a stage -> the key that gives its value.
        facts: What its rows say besides measurements.
        past: Where the network of ``checkpoint`` comes from; None without one, or where that is not known.
        build: Number of classes, (H, W) of the images -> dense network.
        sources: The modules that build it and load the dataset.
        load_data: Reads and checks the dataset.
        passes: How images of the report and select roles are shown to networks.
        tracking: Where it is tracked.
    """

    name: str
    job: Job
    settings: Settings
    values: Mapping[str, Any]
    stages: Sequence[Stage]
    keys: Mapping[str, str]
    facts: RowFacts
    past: Ancestry | None
    build: Callable[[int, tuple[int, int]], SegmentationNet]
    sources: frozenset[str]
    load_data: Callable[[], SegData]
    passes: Passes
    tracking: Tracking


def checked(cfg: DictConfig) -> Run:
    """The run of a composed configuration.

    Raises:
        ConfigError: A key is unknown, missing or out of its range.
        CheckpointError: The checkpoint to start from is none, or of another model.
    """
    job = job_of_this_process()
    _refuse_protocol_of_sweeps(job)
    settings, values = _as_control(*settings_of(cfg), job.choices["protocol"])
    import_extensions(settings.extensions)
    settings, values, job = _with_places(settings, values, job)
    keys = origins(cfg)
    refuse_nobody_to_teach(settings, job)
    stages = stages_of(settings, keys)
    _refuse_foreign_checkpoint(settings)
    past = past_of(settings)
    name = run_name(settings, job, past)
    build = network_builder(settings)
    load_data = component(settings.dataset, "dataset", extensions=settings.extensions)
    passes = component(settings.eval, "eval", extensions=settings.extensions)().passes
    sources = frozenset(
        {INITIAL, *target_modules([settings.model, settings.dataset]), *_unnamed(settings, values)}
    )
    code_of(sources.union(*map(modules_of, stages)))  # read now, while it is what was imported
    return Run(
        name=name,
        job=job,
        settings=settings,
        values=values,
        stages=stages,
        keys=keys,
        facts=facts_of(settings, job, name),
        past=past,
        build=build,
        sources=sources,
        load_data=load_data,
        passes=passes,
        tracking=component(settings.tracking, "tracking", extensions=settings.extensions)(),
    )


def _unnamed(settings: Settings, values: Node) -> set[str]:
    """The extensions that nothing names: what they do when they are imported can change any result."""
    named = {module.partition(".")[0] for module in target_modules(values)}
    return set(settings.extensions) - named


def _as_control(settings: Settings, values: Node, protocol: str) -> tuple[Settings, Node]:
    """The same with the stages that a control has.

    Raises:
        ConfigError: With these stages it would not be what its name says.
    """
    asked, has_weights = settings.stages, settings.model.get("checkpoint") is not None
    if why := control.unfit(protocol, asked, has_weights=has_weights):
        raise ConfigError(
            f"stages is {asked}, with which protocol={protocol} would not be what it is called: {why}. Give other "
            "stages, or protocol=standard."
        )
    stages = control.stages_of(protocol, asked)
    return settings.model_copy(update={"stages": stages}), {**values, "stages": stages}


def _with_places(settings: Settings, values: Node, job: Job) -> tuple[Settings, Node, Job]:
    """The same with the folders that ``checkpoint`` and ``baseline`` mean, which a record then names for good."""
    if settings.checkpoint is None or "train" in settings.stages:
        return settings, values, job
    uri, outputs = settings.tracking.get("uri"), Path(str(settings.paths["outputs"]))
    named = {"checkpoint": settings.checkpoint, "baseline": settings.baseline}
    found = {
        key: place and checkpoint_folder(key, place, outputs, str(uri) if uri else None)
        for key, place in named.items()
    }
    told = {key: str(place) for key, place in found.items() if place is not None}
    overrides = [_told_for_good(one, told) for one in job.overrides]
    return settings.model_copy(update=found), {**values, **told}, replace(job, overrides=overrides)


def _told_for_good(override: str, places: Mapping[str, str]) -> str:
    key = override.partition("=")[0]
    name = key.lstrip("+")
    return f'{key}="{places[name]}"' if name in places and places[name] not in override else override


def stages_of(settings: Settings, keys: Mapping[str, str]) -> list[Stage]:
    """The configured stages, every argument checked, also those of stages that are left out.

    Args:
        settings: The checked root.
        keys: Argument of a stage -> the key that gives its value.

    Raises:
        ConfigError: An argument is wrong, a target is no stage, or the chain has nothing to start from, or
            ``store.accept`` names results that no stage keeps.
    """
    made = {word: _stage(word, settings, keys) for word in settings.stage}
    stages = [made[word] for word in settings.stages]
    _refuse_start(settings, stages)
    _refuse_accept(settings, {word for stage in made.values() for word in stage.keeps})
    return stages


def _stage(word: str, settings: Settings, keys: Mapping[str, str]) -> Stage:
    key, node = f"stage.{word}", settings.stage[word]
    kind = target(node, key, settings.extensions)
    if not (isinstance(kind, type) and issubclass(kind, Stage)):
        raise ConfigError(
            f"{key}._target_ is {node['_target_']!r}, which is no stage; name a class that inherits from "
            f"{Stage.__module__}.{Stage.__qualname__}."
        )
    make = component(node, key, extensions=settings.extensions, runtime=("word",), keys=keys)
    stage: Stage = make(word=word)
    return stage


def _refuse_start(settings: Settings, stages: Sequence[Stage]) -> None:
    words, starting = settings.stages, [stage.word for stage in stages if stage.starts]
    if not starting and settings.checkpoint is None and settings.model.get("checkpoint") is None:
        raise ConfigError(
            f"stages is {words}, without train, so there is no network to start from. Add train, or give "
            "checkpoint=<folder of a checkpoint>; weights from elsewhere are model.checkpoint=<file>."
        )
    if starting and settings.checkpoint is not None:
        raise ConfigError(
            f"checkpoint is {settings.checkpoint}, but stages is {words} and starts with training a new network. "
            f"Leave {', '.join(starting)} out of stages, or checkpoint out of the command."
        )
    if starting and starting != words[:1]:
        raise ConfigError(
            f"stages is {words}, but {starting[-1]} makes the network that the chain begins with. Put it "
            "first, and name no second stage that makes one."
        )


def _refuse_accept(settings: Settings, words: Collection[str]) -> None:
    accept = settings.store.accept
    if unknown := sorted({*accept} - {*words}):
        raise ConfigError(
            f"store.accept is {accept}, but no stage keeps results named {', '.join(unknown)}. Allowed are "
            f"{', '.join(sorted(words))}."
        )
    if accept and not settings.store.reuse:
        raise ConfigError(
            f"store.accept is {accept}, but store.reuse is false, which computes everything again. Leave one of "
            "them out."
        )


def facts_of(settings: Settings, job: Job, name: str) -> RowFacts:
    """What the rows of a run say besides measurements.

    Args:
        settings: The checked root.
        job: What Hydra knows about the run.
        name: Of the run.
    """
    pruner, budget = (
        component(getattr(settings, key), key, extensions=settings.extensions)()
        for key in ("pruner", "budget")
    )
    return RowFacts(
        run=name,
        model=model_name(settings, job),
        pruner=job.choices["pruner"],
        budget=budget.of,
        scope=budget.ranking(pruner.scope),
        ratio=settings.ratio,
        threshold=settings.budget.get("threshold"),
        labels=labels(settings, job),
    )


def network_builder(settings: Settings) -> Callable[[int, tuple[int, int]], SegmentationNet]:
    """Number of classes, (H, W) of the images -> the dense network with its seeded initial weights.

    Raises:
        ConfigError: An argument is wrong, or ``model.factory`` is of a package that is not named.
    """
    make = component(settings.model, "model", extensions=settings.extensions, runtime=("num_classes",))
    return lambda num_classes, image_hw: initial(
        make, num_classes=num_classes, seed=settings.seed, image_hw=image_hw
    )


def _refuse_protocol_of_sweeps(job: Job) -> None:
    """Refuse a job with a protocol that adds jobs to a sweep: its command could not add any.

    Raises:
        ConfigError: It has.
    """
    protocol = job.choices["protocol"]
    if protocol in FOR_SWEEPS:
        raise ConfigError(
            f"protocol={protocol} adds control jobs to a whole sweep: use it with -m and Hydra's basic sweeper, "
            "and give no second protocol. One job has protocol=standard, dense, scratch_e, scratch_b or half."
        )


def _refuse_foreign_checkpoint(settings: Settings) -> None:
    """Compare a checkpoint with the configured model before anything is loaded.

    Raises:
        CheckpointError: It is no checkpoint, or of another model.
        ConfigError: It is an exported file without a network beside it.
    """
    if settings.checkpoint is None or settings.baseline is not None:
        return
    if settings.checkpoint.suffix == EXPORTED:
        raise ConfigError(
            f"checkpoint is {settings.checkpoint}, a file, which is only evaluated beside another network. Give "
            "'stages=[eval]' and baseline=<that network>, as segprune eval baseline=... candidate=... does."
        )
    made = checkpoint.describe(settings.checkpoint).get("model", {})
    wrong = [
        f"model.{key} is {settings.model.get(key)!r}, the checkpoint was made with {made.get(key)!r}"
        for key in sorted({*settings.model, *made} - {"weights", "checkpoint", "allow"})
        if settings.model.get(key) != made.get(key)
    ]
    if wrong:
        raise CheckpointError(
            f"{settings.checkpoint} holds another network: {'; '.join(wrong)}. Give the model it was made with."
        )
