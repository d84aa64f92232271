"""Which dense network the networks of a chain come from, in this run and in those before it."""

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from segprune.checkpoint import ancestry, checkpoint
from segprune.checkpoint.ancestry import Ancestry, Measured, Step
from segprune.checkpoint.contract import DESCRIPTION
from segprune.errors import CheckpointError
from segprune.model.copies import ready
from segprune.result.row import to_record
from segprune.stage.contract import Context, Stage
from segprune.stage.state import NetState, Trail
from segprune.transform.cut import Cut

log = logging.getLogger(__name__)
UNKNOWN = "start"
"""Name of a network that a chain starts from and of which nothing is known."""


def with_ancestry(ctx: Context, stage: Stage, before: Trail, after: Trail) -> Trail:
    """The trail after a stage, its new networks with their ancestry, which is written beside their checkpoints."""
    known = {id(state) for state in before}
    return tuple(
        state if id(state) in known else _noted(ctx, state, _of_new(ctx, stage, before, state))
        for state in after
    )


def note_rows(ctx: Context, trail: Trail) -> None:
    """Write what was measured of the dense network beside all checkpoints that come from it."""
    first = trail[0]
    if first.ancestry is None or first.ancestry.steps:
        return
    rows = [to_record(row) for row in ctx.rows if row.stage == first.name]
    measured = tuple(Measured(data=ctx.data.identity.report, row=row) for row in rows)
    for state in trail:
        if state.ancestry is not None:
            _noted(ctx, state, replace(state.ancestry, measured=measured))


def root(state: NetState, store: Path | None = None) -> Ancestry:
    """That of a dense network.

    Args:
        state: The network.
        store: Folder of the store that its checkpoint is in, if it is in one.
    """
    folder = state.folder
    if folder is None or not (folder / DESCRIPTION).exists():
        return Ancestry(
            network=state.name, fingerprint=str(state.fingerprint), weights_sha256=None, place=None
        )
    return Ancestry(
        network=state.name,
        fingerprint=str(state.fingerprint),
        weights_sha256=checkpoint.describe(folder)["weights_sha256"],
        place=f"{folder.parent.name}/{folder.name}" if _is_inside(store, folder) else str(folder.resolve()),
    )


def _is_inside(store: Path | None, folder: Path) -> bool:
    """Whether a folder is a checkpoint in a store."""
    is_below = store is not None and folder.resolve().is_relative_to(store.resolve())
    return is_below and (folder / DESCRIPTION).exists()


def with_dense(ctx: Context, here: NetState, taken: Collection[str]) -> Trail:
    """The networks that a chain starts with: that of a checkpoint, and before it its dense one, if that is there.

    Says what the results are compared with.

    Args:
        ctx: The run.
        here: The network, by no name yet, and with its folder.
        taken: Names of networks that stages of this run make.
    """
    folder = here.folder
    past = None if folder is None else ancestry.read(folder)
    if past is None:
        if not here.transforms:
            dense = replace(here, name="dense")
            return (replace(dense, ancestry=root(dense, ctx.store.root)),)
        log.warning(
            "%s does not say which dense network it was cut from: its row is `%s`, with which all is compared",
            *(folder, UNKNOWN),
        )
        return (replace(here, name=UNKNOWN),)
    name = past.steps[-1].network if past.steps else past.network
    here = replace(here, name=UNKNOWN if name in taken else name, ancestry=past)
    if not past.steps:
        return (here,)
    found = _dense(ctx, past, folder)
    if found is None:
        measured = (
            "what was measured of it before" if past.measured else "nothing, as it was not evaluated before"
        )
        log.warning(
            "the dense network of %s is not there (%s): mIoU is compared with %s, MACs and channels with its "
            "structure, and no speed-up is timed",
            *(folder, past.place or past.network, measured),
        )
        return (here,)
    log.info("%s comes from %s by %s, and is compared with it", folder, found.folder, past.label)
    return found, here


def _dense(ctx: Context, past: Ancestry, folder: Path | None) -> NetState | None:
    """The dense network, if the store of this run or the one of the checkpoint still has it."""
    stores = [ctx.store.root, *([folder.parent.parent] if folder else [])]
    for place in [store / past.place for store in stores if past.place]:
        try:
            if checkpoint.describe(place)["weights_sha256"] != past.weights_sha256:
                continue
            net, transforms, about = checkpoint.read(place, ctx.build)
        except CheckpointError:
            continue
        return NetState(
            name=past.network,
            net=ready(net, ctx.hardware.device),
            transforms=transforms,
            fingerprint=past.fingerprint,
            folder=place,
            training=about.get("training"),
            ancestry=replace(past, steps=()),
        )
    return None


def _of_new(ctx: Context, stage: Stage, before: Trail, state: NetState) -> Ancestry | None:
    if not before:
        return None if state.transforms else root(state, ctx.store.root)
    last = before[-1]
    if last.ancestry is None:
        return None
    new = state.transforms[len(last.transforms) :]
    facts = ctx.facts
    is_cut = any(isinstance(one, Cut) for one in new)
    label = facts.labels.get(stage.word, stage.word)
    return last.ancestry.then(Step(network=state.name, label=label, cut=facts.cause if is_cut else None))


def _noted(ctx: Context, state: NetState, found: Ancestry | None) -> NetState:
    """The network with its ancestry, which is written beside its checkpoint if that is in the store of the run."""
    folder = state.folder
    if found is not None and folder is not None and _is_inside(ctx.store.root, folder):
        ancestry.write(folder, found)
    return replace(state, ancestry=found)
