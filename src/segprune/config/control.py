"""What a chain needs so that a control is what its name says."""

from collections.abc import Sequence

from segprune.config.protocol import FROM_SCRATCH, NEVER_CUT


def stages_of(protocol: str, stages: Sequence[str]) -> list[str]:
    """The stages of a job that was asked for with these: the dense control leaves the cut out."""
    return [word for word in stages if word != "prune" or protocol != NEVER_CUT]


def unfit(protocol: str, stages: Sequence[str], *, has_weights: bool) -> str:
    """Why a control cannot be what its name says; empty if it can, and for a job that is none.

    Args:
        protocol: The option of the group.
        stages: What was asked for.
        has_weights: Whether the network has weights from elsewhere (``model.checkpoint``).
    """
    needed: tuple[str, ...] = ()
    if protocol == NEVER_CUT or protocol in FROM_SCRATCH:
        needed = ("finetune",) if protocol == NEVER_CUT else ("prune", "finetune")
    if missing := [word for word in needed if word not in stages]:
        return f"it needs {' and '.join(missing)} in stages"
    if protocol in FROM_SCRATCH and has_weights and "train" not in stages:
        return "without train in stages, its network would begin with the trained weights of model.checkpoint"
    return ""
