"""The jobs of a sweep, composed and checked before the first one runs."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from segprune import stop
from segprune.errors import ConfigError, SegpruneError
from segprune.importing import importing
from segprune.status import STATUS, asked
from segprune.sweep.composer import Composer
from segprune.sweep.controls import ControlSweeper, jobs_of

if TYPE_CHECKING:
    from segprune.run.assemble import Run

BASIC = "BasicSweeper"
"""Hydra's own sweeper."""


NUMBERED = "hydra.sweep.subdir=${hydra:job.num}"
LONGEST_NAME = 255
"""Bytes of the name of a file or folder, on all usual file systems."""


@dataclass(frozen=True, kw_only=True)
class GridJob:
    """One job to be.

    Attributes:
        overrides: What the command line says for it.
        folder: Where it writes.
        asked: Its options, as the table names them.
        run: Its checked configuration.
    """

    overrides: Sequence[str]
    folder: Path
    asked: Mapping[str, Any]
    run: "Run"


def is_known(config: DictConfig) -> bool:
    """Whether the jobs are known beforehand: other sweepers than Hydra's own choose them while they run."""
    return str(config.hydra.sweeper._target_).endswith((BASIC, ControlSweeper.__name__))


def checked_jobs(config: DictConfig) -> Iterator[GridJob]:
    """The jobs of a sweep whose jobs are known beforehand, in order.

    Args:
        config: The configuration of the whole sweep, with Hydra's node.

    Raises:
        ConfigError: A job cannot run, or writes where another one does; says which one.
    """
    with importing():
        from segprune.run.assemble import checked

    loader = GlobalHydra.instance().config_loader()
    compose, taken = Composer(config, loader), dict[Path, str]()
    try:
        for number, overrides in enumerate(jobs_of(config, loader)):
            stop.if_asked()
            job = compose(overrides)
            with open_dict(job.whole.hydra):
                job.whole.hydra.job.id = job.whole.hydra.job.num = number
                job.whole.hydra.runtime.output_dir = str(config.hydra.sweep.dir)
            HydraConfig.instance().cfg = cast(Any, job.whole)  # set_config would copy Hydra's node
            folder = Path(str(config.hydra.sweep.dir), str(job.whole.hydra.sweep.subdir))
            _refuse_long(folder, " ".join(overrides))
            _refuse_shared(folder, " ".join(overrides), taken)
            try:
                run = checked(job.own)
            except SegpruneError as error:
                raise ConfigError(
                    f"the job {' '.join(overrides)} cannot run, so none was started.\n{error}"
                ) from error
            values = {key: job.own.get(key) for key in ("ratio", "seed")}
            options = asked(job.whole.hydra.runtime.choices, **values)
            yield GridJob(overrides=overrides, folder=folder, asked=options, run=run)
    finally:
        HydraConfig.instance().set_config(config)


def _refuse_long(folder: Path, job: str) -> None:
    """Check that the folder of a job can be made.

    Raises:
        ConfigError: A part of its name is too long, as where ``${hydra:job.override_dirname}`` has many overrides.
    """
    longest = max(folder.parts, key=lambda part: len(os.fsencode(part)), default="")
    if len(os.fsencode(longest)) > LONGEST_NAME:
        raise ConfigError(
            f"the job {job:.80}... would write into a folder whose name has {len(os.fsencode(longest))} bytes, "
            f"more than the {LONGEST_NAME} of a file system: {longest:.40}..., so none was started. Leave out "
            f"hydra.sweep.subdir, or give '{NUMBERED}'."
        )


def _refuse_shared(folder: Path, job: str, taken: dict[Path, str]) -> None:
    """Note who writes where.

    Raises:
        ConfigError: Another job does there.
    """
    place = Path(os.path.abspath(folder))
    if place in taken:
        raise ConfigError(
            f"the jobs {taken[place]} and {job} would both write into {folder}, so none was started. Let "
            f"hydra.sweep.subdir tell jobs apart: leave it out, or give '{NUMBERED}'."
        )
    taken[place] = job


def clear(jobs: Sequence[GridJob]) -> None:
    """Take away the status of jobs of an earlier sweep, where these jobs will write."""
    for job in jobs:
        written = job.folder / ".hydra" / "overrides.yaml"
        if written.exists() and _read(written) != list(job.overrides):
            (job.folder / STATUS).unlink(missing_ok=True)


def _read(overrides: Path) -> object:
    return OmegaConf.to_container(OmegaConf.load(overrides), resolve=False)


def labels(jobs: Sequence[Sequence[str]]) -> list[str]:
    """What tells each job from the others: its overrides of keys that are not the same wherever they are given."""
    given = {override for job in jobs for override in job}
    keys = Counter(override.split("=")[0] for override in given)
    return [
        " ".join(override for override in job if len(jobs) == 1 or keys[override.split("=")[0]] > 1)
        for job in jobs
    ]
