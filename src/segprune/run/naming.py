"""What a run is called: after all that makes it differ from others."""

from segprune.checkpoint import ancestry, checkpoint
from segprune.checkpoint.ancestry import Ancestry
from segprune.config.compose import Job, Settings
from segprune.config.protocol import UNTAUGHT
from segprune.run.ancestry import UNKNOWN


def past_of(settings: Settings) -> Ancestry | None:
    """Where the network of ``checkpoint`` comes from; None without one, or where that is not known."""
    folder = settings.checkpoint
    if folder is None or not folder.is_dir():
        return None
    made = checkpoint.describe(folder)
    is_whole = not made.get("transforms", made.get("plans"))
    unknown = Ancestry(network="dense", fingerprint="", weights_sha256=None, place=None) if is_whole else None
    return ancestry.read(folder) or unknown


def run_name(settings: Settings, job: Job, past: Ancestry | None = None) -> str:
    """``<pruner>-r<ratio>-s<seed>``, or ``dense-s<seed>`` for a chain that does not prune.

    Rounds, initial weights, a protocol and a teacher are named where they are not the usual ones; a budget without
    a ratio has ``t`` and its threshold, or its name. A chain that goes on from a checkpoint is named after all that
    was done since the dense network, as ``taylor-r0.3-ft-s0``.

    Args:
        settings: The checked root.
        job: What Hydra knows about the run.
        past: Where the network of ``checkpoint`` comes from.
    """
    did, is_cut = labels(settings, job), "prune" in settings.stages
    begins = "train" in settings.stages
    has_weights = not begins and settings.model.get("checkpoint") is not None
    first = "dense" if begins or past is not None or not (settings.checkpoint or has_weights) else UNKNOWN
    done = [past.label] if past and past.label else []
    if is_cut:
        own = f"{did['prune']}{_taught(job)}"
        is_named = first == "dense" or has_weights
    else:
        is_named = False
        own = did["finetune"] if settings.checkpoint and "finetune" in settings.stages else _taught(job)[1:]
    parts = [*([] if done or is_named else [first]), *done, own, f"s{settings.seed}"]
    return "-".join(part for part in parts if part)


def labels(settings: Settings, job: Job) -> dict[str, str]:
    """The stages that cut and finetune -> what a run's name says of them."""
    return {"prune": _cut_label(settings, job), "finetune": f"ft{_taught(job)}"}


def _taught(job: Job) -> str:
    distill = job.choices.get("distill", UNTAUGHT)
    return "" if distill == UNTAUGHT else f"-{distill}"


def _cut_label(settings: Settings, job: Job) -> str:
    # the budget's own arguments are checked after the name is made, so they may still be anything
    if settings.ratio is not None:
        much = f"r{settings.ratio:g}"
    elif "threshold" in settings.budget:
        much = f"t{settings.budget['threshold']}"
    else:
        much = str(job.choices["budget"])
    rounds = f"-{settings.rounds}x" if settings.rounds > 1 else ""
    init = "" if settings.init == "inherited" else f"-{settings.init}"
    protocol = job.choices["protocol"]
    how = init if protocol == "standard" else f"-{protocol}"
    return f"{job.choices['pruner']}-{much}{rounds}{how}"


def model_name(settings: Settings, job: Job) -> str:
    """The option of the config group, with the architecture and encoder where it leaves the choice of them."""
    parts = (settings.model.get(key) for key in ("name", "arch", "encoder", "factory"))
    return "-".join([str(job.choices["model"]), *(part for part in parts if isinstance(part, str))])
