"""The command that made a sweep, and the one that would complete it."""

import shlex
from collections.abc import Sequence


def command(overrides: Sequence[str], **values: Sequence[object]) -> str:
    """A line for the shell that runs a sweep; finished results come from the store, so it only computes new ones.

    Args:
        overrides: What was typed for the sweep.
        values: Key -> all its values, instead of those in ``overrides``.
    """
    kept = [override for override in overrides if override.lstrip("+").split("=")[0] not in values]
    changed = [f"{key}={','.join(map(str, dict.fromkeys(many)))}" for key, many in values.items()]
    return shlex.join(["python", "run.py", "-m", *kept, *changed])


def more_seeds(seeds: Sequence[int], count: int) -> list[int]:
    """The seeds and the smallest others, ``count`` in all or as many as there are."""
    others = [seed for seed in range(len(seeds) + count) if seed not in seeds]
    return [*seeds, *others[: max(0, count - len(seeds))]]
