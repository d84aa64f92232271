"""Configurations of the jobs of a sweep; jobs that differ in plain values are composed of the files only once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

PLAIN = (bool, int, float, str, type(None))
"""Values that take the place of what was there. A mapping would be merged with it."""


@dataclass(frozen=True)
class Composed:
    """The configuration of one job; to be read, until the next job is composed.

    Attributes:
        whole: With Hydra's node.
        own: Without it.
    """

    whole: DictConfig
    own: DictConfig


class Composer:
    """What ``load_sweep_config`` of Hydra's loader gives, in less time for all but the first job of a kind.

    A sweep of 300 jobs over ratios and seeds reads some thirty files 300 times otherwise, or copies what was read.
    """

    def __init__(self, config: DictConfig, loader: Any) -> None:
        """Compose nothing yet.

        Args:
            config: The configuration of the whole sweep, with Hydra's node.
            loader: Hydra's loader.
        """
        self._config, self._loader = config, loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._found: dict[tuple[tuple[str, ...], ...], Composed] = {}
        self._is_group: dict[str, bool] = {}

    def __call__(self, overrides: Sequence[str]) -> Composed:
        """The configuration of one job. Its own values are for reading; of Hydra's node, any may be set.

        Args:
            overrides: Of the job, ``key=value`` each.
        """
        parsed = self._parser.parse_overrides(list(overrides))
        keys = {override.key_or_group for override in parsed}
        plain = [override for override in parsed if self._is_plain(override) and _is_alone(override, keys)]
        others = tuple(str(override.input_line) for override in parsed if override not in plain)
        kind = (others, tuple(override.key_or_group for override in plain))
        if kind not in self._found:
            first: DictConfig = self._loader.load_sweep_config(self._config, list(overrides))
            own = OmegaConf.masked_copy(first, [str(key) for key in first if key != "hydra"])
            self._found[kind] = Composed(first, own)
            return self._found[kind]
        job = self._found[kind]
        for override in plain:
            for config in (job.whole, job.own):
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        self._note(job.whole, parsed)
        return job

    def _is_plain(self, override: Override) -> bool:
        """Whether it sets one value that is there already, and chooses nothing."""
        key = override.key_or_group
        return (
            override.type == OverrideType.CHANGE
            and override.package is None
            and not override.is_sweep_override()
            and not override.is_hydra_override()
            and isinstance(override.value(), PLAIN)
            and not self._chooses(key)
        )

    def _chooses(self, key: str) -> bool:
        if key not in self._is_group:
            self._is_group[key] = "/" in key or bool(self._loader.get_group_options(key))
        return self._is_group[key]

    def _note(self, job: DictConfig, parsed: Sequence[Override]) -> None:
        """What Hydra's node says of the overrides."""
        of_task = [override for override in parsed if not override.is_hydra_override()]
        OmegaConf.set_readonly(job.hydra, value=False)
        how = job.hydra.job.config.override_dirname
        job.hydra.overrides.task = [override.input_line for override in of_task]
        job.hydra.job.override_dirname = get_overrides_dirname(
            overrides=of_task, kv_sep=how.kv_sep, item_sep=how.item_sep, exclude_keys=how.exclude_keys
        )


def _is_alone(override: Override, keys: Collection[str]) -> bool:
    """Whether no other key holds its key or is held by it: of such, the order would count."""
    mine = f"{override.key_or_group}."
    return not any(
        f"{key}.".startswith(mine) or mine.startswith(f"{key}.") for key in keys if f"{key}." != mine
    )
