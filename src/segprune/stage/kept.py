"""Networks in the store: how a stage writes the one it made, and reads it back with where it comes from."""

import platform
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path

from segprune.checkpoint import checkpoint
from segprune.model.contract import SegmentationNet
from segprune.model.copies import ready
from segprune.stage.contract import Context
from segprune.stage.state import NetState
from segprune.store.store import Entry
from segprune.transform.contract import Transform


def write_state(
    folder: Path,
    ctx: Context,
    net: SegmentationNet,
    transforms: Sequence[Transform],
    key: str,
    *,
    training: str | None = None,
) -> None:
    """Write a network as a checkpoint that says where it comes from.

    Args:
        folder: Where its files go.
        ctx: The run.
        net: The network.
        transforms: What turned the dense network into it, in order.
        key: Its fingerprint.
        training: How the last training on the way to it computed, for rows; None: not known.
    """
    about = {
        **ctx.about,
        **checkpoint.prediction(ctx.data, ctx.passes),
        "seed": ctx.seed,
        "fingerprint": key,
        "training": training,
        "run_id": ctx.tracker.run_id,
        "versions": {name: version(name) for name in ("torch", "torchvision", "torch-pruning", "segprune")},
        "python": platform.python_version(),
    }
    checkpoint.write(folder, net, transforms=transforms, about=about)


def read_state(entry: Entry, ctx: Context, name: str, *, accepted: Collection[str]) -> NetState:
    """The network of a store entry, ready to run on the device.

    Args:
        entry: The entry.
        ctx: The run.
        name: Of the network.
        accepted: The accepted stages of the network before it.
    """
    net, transforms, about = checkpoint.read(entry.folder, ctx.build)
    return NetState(
        name=name,
        net=ready(net, ctx.hardware.device),
        transforms=transforms,
        fingerprint=entry.key,
        folder=entry.folder,
        accepted=frozenset(accepted) | entry.accepted,
        training=about.get("training"),
    )


def origin_of(entry: Entry) -> str:
    """``computed``, ``reused``, or ``accepted`` for a result of other code."""
    return "accepted" if entry.accepted else "reused" if entry.was_reused else "computed"


def note_source(entry: Entry, ctx: Context, word: str) -> None:
    """Tell the tracker whether a stage was computed or reused, and from which run."""
    source = checkpoint.describe(entry.folder).get("run_id", "") if entry.was_reused else ctx.tracker.run_id
    ctx.tracker.tags({f"stage.{word}": origin_of(entry), f"stage.{word}.source_run": source or "untracked"})
