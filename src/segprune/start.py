"""Where a chain starts: what its stages are given, and the checkpoint it goes on from."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segprune import checkpoint
from segprune.assemble import Run
from segprune.compose import Settings
from segprune.dataset.contract import SegData
from segprune.errors import CheckpointError
from segprune.stage.contract import Context, NetState, Stage, Trail
from segprune.stage.prune import Prune
from segprune.step import Hardware
from segprune.store import Store, fingerprint
from segprune.tracking.contract import Tracker


def context_of(run: Run, data: SegData, hardware: Hardware, store: Store, tracker: Tracker) -> Context:
    """What the stages of a run are given."""
    about = {
        "model": run.settings.model,
        "model_files": _digests(run.settings.model),
        "model_source": run.model_source,
        "classes": list(data.classes),
        "dataset": data.name,
    }
    return Context(
        data=data,
        build=lambda: run.build(len(data.classes)),
        about=about,
        seed=run.settings.seed,
        hardware=hardware,
        store=store,
        tracker=tracker,
    )


def start_of_trail(settings: Settings, ctx: Context) -> Trail:
    """Nothing, or the network of the checkpoint the chain starts from.

    Raises:
        CheckpointError: It is damaged, or was made for other classes.
    """
    folder = settings.checkpoint
    if folder is None:
        return ()
    classes = checkpoint.describe(folder).get("classes")
    if classes != ctx.about["classes"]:
        raise CheckpointError(
            f"{folder} was made for the classes {classes}, the dataset has {ctx.about['classes']}. Choose the "
            "dataset that the checkpoint was made with."
        )
    net, plans, about = checkpoint.read(folder, ctx.build)
    key = fingerprint("checkpoint", {"weights": about["weights_sha256"], "about": ctx.about})
    ctx.tracker.tags({"checkpoint": str(folder)})
    name, net = "start" if plans else "dense", net.to(ctx.hardware.device).eval()
    return (NetState(name=name, net=net, plans=plans, fingerprint=key, folder=folder),)


def refuse_unreachable(stages: Sequence[Stage], ctx: Context) -> None:
    """Check before anything is trained that the cut can be made.

    Raises:
        BudgetError: The budget is out of reach.
        ConfigError: The criterion cannot run on this network.
    """
    for stage in stages:
        if isinstance(stage, Prune):
            stage.refuse_unreachable(ctx)


def _digests(node: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of every file that a value of the node names, such as pretrained weights."""
    files = {
        key: Path(value) for key, value in node.items() if isinstance(value, str) and Path(value).is_file()
    }
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}
