"""The command that made a sweep, and the one that would complete it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from segprune.config.places import SEARCHED
from segprune.config.spelled import override

_GIVEN = ("hydra.mode", "hydra.sweep.dir", SEARCHED)
"""What the line has anyhow."""


def command(overrides: Sequence[str], **values: Sequence[object]) -> str:
    """A line for the shell that runs a sweep; finished results come from the store, so it only computes new ones.

    Args:
        overrides: What was typed for the sweep.
        values: Key -> all its values, instead of those in ``overrides``.
    """
    kept = [one for one in overrides if one.lstrip("+").split("=")[0] not in values]
    changed = [f"{key}={','.join(map(str, dict.fromkeys(many)))}" for key, many in values.items()]
    return shlex.join(["python", "run.py", "-m", *kept, *changed])


def finishing(folder: Path, overrides: Sequence[str], of_hydra: Sequence[str]) -> str:
    """The line that goes on with a sweep in its own folder.

    Args:
        folder: Of the sweep.
        overrides: What was typed for it.
        of_hydra: Likewise, those that concern Hydra.
    """
    kept = [one for one in of_hydra if one.lstrip("+").split("=")[0] not in _GIVEN]
    return command([*overrides, *kept, override("hydra.sweep.dir", str(folder.absolute()))])


def more_seeds(seeds: Sequence[int], count: int) -> list[int]:
    """The seeds and the smallest others, ``count`` in all or as many as there are."""
    others = [seed for seed in range(len(seeds) + count) if seed not in seeds]
    return [*seeds, *others[: max(0, count - len(seeds))]]
