"""Where a chain starts: the context of its stages, and the checkpoint that it continues from."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from functools import partial

from segprune.config.compose import Settings
from segprune.dataset.contract import SegData
from segprune.dataset.weights import class_weights
from segprune.dataset.workers import workers_for
from segprune.errors import ConfigError
from segprune.model.bands import for_bands
from segprune.model.contract import SegmentationNet
from segprune.run.ancestry import with_dense
from segprune.run.assemble import Run
from segprune.run.compared import compared
from segprune.run.elsewhere import from_elsewhere, tell_quality
from segprune.run.reading import state_of
from segprune.run.teachers import teachers_of
from segprune.stage.contract import Context, Stage
from segprune.stage.state import Trail
from segprune.stage.trial import refuse_misfit, refuse_no_gradients
from segprune.store.code import code_of
from segprune.store.fingerprint import digests, fingerprint
from segprune.store.store import Store
from segprune.tracking.contract import Tracker
from segprune.training.step import Hardware


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
    ctx.tracker.tags({"checkpoint": str(folder)})
    if settings.baseline is not None:
        ctx.tracker.tags({"baseline.checkpoint": str(settings.baseline)})
        return compared(settings, ctx, settings.baseline, folder)
    return with_dense(ctx, state_of(ctx, folder, ctx.build), taken)


def refuse(stages: Sequence[Stage], ctx: Context, start: Trail) -> None:
    """Check before anything is trained that the network runs on the images and that every stage can do its work.

    Raises:
        SegpruneError: It cannot run, or a stage cannot work; says which key to change.
    """
    _refuse_same_names(stages, start)
    refuse_misfit(ctx)
    if any(training.epochs for stage in stages for training in stage.trainings(ctx)):
        refuse_no_gradients(ctx)
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
