"""Where a chain starts: the context of its stages, and the checkpoint that it continues from."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from segprune.checkpoint import checkpoint
from segprune.config.compose import Settings
from segprune.dataset.contract import SegData
from segprune.dataset.weights import class_weights
from segprune.dataset.workers import workers_for
from segprune.errors import CheckpointError, ConfigError
from segprune.model.bands import for_bands
from segprune.model.contract import SegmentationNet
from segprune.run.ancestry import UNKNOWN, with_dense
from segprune.run.assemble import Run
from segprune.run.elsewhere import from_elsewhere, tell_quality
from segprune.run.teachers import teachers_of
from segprune.stage.contract import Context, NetState, Stage, Trail, ready
from segprune.stage.trial import refuse_misfit
from segprune.store import manifest
from segprune.store.code import code_of
from segprune.store.fingerprint import digests, fingerprint
from segprune.store.store import Store
from segprune.tracking.contract import Tracker
from segprune.training.step import Hardware
from segprune.transform.contract import Transform
from segprune.transform.cut import Cut
from segprune.transform.registry import to_record

USUAL_BANDS = "3 bands of 8 bits"


def context_of(run: Run, data: SegData, hardware: Hardware, store: Store, tracker: Tracker) -> Context:
    """The context that the stages of a run are given."""
    about = {
        "model": run.settings.model,
        "model_files": digests(run.settings.model),
        "classes": list(data.classes),
        "dataset": data.name,
        **({"bands": asdict(data.bands)} if data.bands else {}),
    }
    return Context(
        data=_counted_by_this_code(data, run.sources),
        build=_builder(run, data),
        about=about,
        sources=run.sources | ({for_bands.__module__} if data.bands else set()),
        seed=run.settings.seed,
        hardware=replace(hardware, workers=workers_for(run.settings.workers, data, hardware.device)),
        store=store,
        tracker=tracker,
        facts=run.facts,
        keys=run.keys,
        passes=run.passes,
        teachers=partial(teachers_of, run.settings, data, hardware.device),
    )


def _builder(run: Run, data: SegData) -> Callable[[], SegmentationNet]:
    """What makes the dense network, for the bands of the images."""
    bands, size_hw = data.bands, run.passes.size_hw(data.size_hw)
    if bands is None:
        return lambda: run.build(len(data.classes), size_hw)
    return lambda: for_bands(run.build(len(data.classes), size_hw), bands.mean, bands.std, size_hw)


def _counted_by_this_code(data: SegData, sources: Collection[str]) -> SegData:
    """The dataset, whose kept label counts other code does not read: an edit has the labels counted again."""
    if data.label_counts is None:
        return data
    code = fingerprint("label_counts", code_of({*sources, class_weights.__module__}))
    return replace(data, label_counts=data.label_counts.with_stem(f"{data.label_counts.stem}-{code}"))


def start_of_trail(settings: Settings, ctx: Context, taken: Collection[str] = ()) -> Trail:
    """Nothing, or the networks the chain starts with: of a checkpoint and its dense one, or weights from elsewhere.

    Args:
        settings: The checked root.
        ctx: The run.
        taken: Names of networks that stages of this run make.

    Raises:
        CheckpointError: It is damaged, or was made for other classes.
    """
    folder = settings.checkpoint
    if folder is None:
        return from_elsewhere(settings, ctx)
    classes = checkpoint.describe(folder).get("classes")
    if classes != ctx.about["classes"]:
        raise CheckpointError(
            f"{folder} was made for the classes {classes}, the dataset has {ctx.about['classes']}. Choose the "
            "dataset that the checkpoint was made with."
        )
    _refuse_other_bands(folder, ctx)
    net, transforms, about = checkpoint.read(folder, ctx.build)
    ctx.tracker.tags({"checkpoint": str(folder)})
    state = NetState(
        name=UNKNOWN,
        net=ready(net, ctx.hardware.device),
        transforms=transforms,
        fingerprint=_of_entry(folder, about) or fingerprint("checkpoint", _inputs(ctx, about, transforms)),
        folder=folder,
        training=about.get("training"),
    )
    return with_dense(ctx, state, taken)


def _of_entry(folder: Path, about: Mapping[str, Any]) -> str:
    """The fingerprint of a result of a store that is as it was made, so that what follows it is shared.

    Empty for any other one.
    """
    sealed, key = manifest.read(folder), about.get("fingerprint")
    if sealed is None or not key or manifest.damage(folder, stage=sealed.stage, fingerprint=key):
        return ""
    return str(key)


def _refuse_other_bands(folder: Path, ctx: Context) -> None:
    """Refuse a checkpoint whose images had other bands, or were normalised by other numbers.

    Raises:
        CheckpointError: They had.
    """
    made, here = (about.get("bands") for about in (checkpoint.describe(folder), ctx.about))
    if json.loads(json.dumps(here)) == made:
        return
    keys = ("dataset.bands", "dataset.mean", "dataset.std")
    remedy = "images as those that it was made with"
    if made is not None:
        values = (made["count"], list(made["mean"]), list(made["std"]))
        remedy = " ".join(f"'{key}={value}'" for key, value in zip(keys, values, strict=True))
    raise CheckpointError(
        f"{folder} was made for images of {made or USUAL_BANDS}, the dataset has {here or USUAL_BANDS}. "
        f"Give {remedy}."
    )


def _inputs(ctx: Context, about: Mapping[str, Any], transforms: Sequence[Transform]) -> dict[str, Any]:
    """What identifies a network from a checkpoint; a transform that is no cut counts with its values and code."""
    inputs = {"weights": about["weights_sha256"], "about": ctx.about}
    others = [made_by for made_by in transforms if not isinstance(made_by, Cut)]
    if not others:
        return inputs
    code = code_of({type(made_by).__module__ for made_by in others})
    return {**inputs, "transforms": [to_record(made_by) for made_by in transforms], **code}


def refuse(stages: Sequence[Stage], ctx: Context, start: Trail) -> None:
    """Check before anything is trained that the network runs on the images and that every stage can do its work.

    Raises:
        SegpruneError: It cannot run, or a stage cannot work; says which key to change.
    """
    _refuse_same_names(stages, start)
    refuse_misfit(ctx)
    tell_quality(ctx, start)
    for stage in stages:
        stage.refuse(ctx, start)


def _refuse_same_names(stages: Sequence[Stage], start: Trail) -> None:
    """Rows are found by the names of networks; those that a stage does not tell are checked when it has run."""
    makers = {state.name: "checkpoint" for state in start}
    for stage in stages:
        for name in stage.networks:
            if name in makers:
                raise ConfigError(
                    f"{makers[name]} and stage.{stage.word} both give a network named {name}, so their rows could "
                    f"not be told apart. Give one another name, as in stage.{stage.word}.makes=<name>."
                )
            makers[name] = f"stage.{stage.word}"
