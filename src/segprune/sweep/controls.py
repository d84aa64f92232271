"""The jobs of a sweep, and those that ``protocol=fair`` or ``protocol=full`` adds as controls.

A control is the job of a user with something left out or put in its place, so it shares all that was typed for
the rest: data, network, seed, schedules.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf

from segprune.config.compose import typed
from segprune.config.control import unfit
from segprune.config.protocol import (
    BY_ITSELF,
    CHANCE_AND_NORM,
    FOR_SWEEPS,
    FROM_SCRATCH,
    NEVER_CUT,
    UNTAUGHT,
)
from segprune.errors import ConfigError

log = logging.getLogger(__name__)
Job = list[str]
"""The overrides of one job, ``key=value`` each."""

OF_THE_CUT = ("pruner", "budget", "ratio", "rounds", "between", "init")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the controls of a job depend on.

    Attributes:
        has_ratio: Whether its budget takes a ratio. Where none is asked for, the scores decide how much goes, and
            ``random`` and ``l1`` have none that mean the same.
        stages: Its chain.
        has_weights: Whether its network has weights from elsewhere.
    """

    has_ratio: bool
    stages: tuple[str, ...]
    has_weights: bool


class ControlSweeper(Sweeper):
    """Like Hydra's own sweeper, with the controls behind the jobs that were asked for."""

    def __init__(self, max_batch_size: int | None, params: Mapping[str, str] | None) -> None:
        del params  # read from the configuration
        self._batch_size = max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Get the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the jobs; an exception of one is raised when all of its batch are over."""
        del arguments  # the configuration has them
        context, config = cast("HydraContext", self.hydra_context), cast("DictConfig", self.config)
        folder = Path(str(config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / "multirun.yaml")
        jobs = jobs_of(config, context.config_loader)
        size, done = self._batch_size or len(jobs), list[JobReturn]()
        for start in range(0, len(jobs), size):
            done += self._launcher.launch(jobs[start : start + size], initial_job_idx=start)
            for job in done[start:]:
                _ = job.return_value  # raises what the job raised
        return done


def jobs_of(config: DictConfig, loader: Any) -> list[Job]:
    """The jobs of a sweep whose jobs are known beforehand.

    Args:
        config: The configuration of the whole sweep, with Hydra's node.
        loader: Hydra's loader, which knows the groups.
    """
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=loader)
    overrides = parser.parse_overrides([*params, *typed(config.hydra.overrides.task)])
    jobs = _combinations(overrides)

    @cache
    def asked(*job: str) -> Asked:
        composed = loader.load_sweep_config(config, list(job))
        stages = composed.get("stages")
        weights = OmegaConf.select(composed, "model.checkpoint", throw_on_resolution_failure=False)
        return Asked(
            has_ratio=composed.get("ratio") is not None,
            stages=tuple(stages) if isinstance(stages, ListConfig) else (),  # the job itself is refused
            has_weights=weights is not None,
        )

    return with_controls(
        jobs,
        str(config.hydra.runtime.choices.get("protocol")),
        asked_of=lambda job: asked(*_without(job, "pruner", "seed", "protocol")),
    )


def _combinations(overrides: Sequence[Override]) -> list[Job]:
    """One job for every combination of values, in the order of Hydra's own sweeper.

    Where a key has several overrides, the last one counts.

    Raises:
        ConfigError: An override has no single values, such as ``ratio=interval(0.1,0.5)``.
    """
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            texts = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            texts = list(override.sweep_string_iterator())
        else:
            raise ConfigError(
                f"{override.input_line} names no single values to sweep over. Give them: {key}=<value>,<value>."
            )
        values[key] = [f"{key}={text}" for text in texts]
    return [list(job) for job in product(*values.values())]


def with_controls(jobs: Sequence[Job], protocol: str, *, asked_of: Callable[[Job], Asked]) -> list[Job]:
    """The jobs and the controls their protocol adds, each once; says which it cannot add, and why.

    Args:
        jobs: The jobs of the command.
        protocol: ``fair`` adds, per budget, ``random`` and uniform ``l1``; per seed, the dense network finetuned
            and the network with half the channels. A job with a teacher is also run without one and, as
            ``distill=self``, taught by itself, both with the same controls. ``full`` also adds the cut network of
            every other method trained from scratch, for as many epochs and for as much compute as the dense one.
        asked_of: What the controls of a job depend on.
    """
    if protocol not in FOR_SWEEPS:
        return list(jobs)
    asked = [[*_without(job, "protocol"), "protocol=standard"] for job in jobs]
    found = _unique(asked + [other for job in asked for other in _otherwise_taught(job)])
    controls = [
        control for job in found for control in _controls(job, asked_of(job), is_full=protocol == "full")
    ]
    return _unique(found + controls)


def _unique(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, each once, in whatever order its overrides are."""
    found: dict[frozenset[str], Job] = {}
    for job in jobs:
        found.setdefault(frozenset(job), list(job))
    return list(found.values())


def _otherwise_taught(job: Job) -> Iterator[Job]:
    """A job with a teacher, without one and taught by itself: whether and why a teacher helps."""
    options = [part.split("=")[1] for part in job if _key(part) == "distill"]
    if not options or options[-1] in (UNTAUGHT, BY_ITSELF):
        return
    rest = _without(job, "distill", "teacher")
    yield [*rest, f"distill={UNTAUGHT}"]
    # the weight of another loss means nothing here, how long it is trained does
    yield [*rest, *(part for part in job if _key(part) == "distill.match"), f"distill={BY_ITSELF}"]


def _controls(job: Job, asked: Asked, *, is_full: bool) -> Iterator[Job]:
    has_scope = any(_key(part) == "budget.scope" for part in job)
    if asked.has_ratio and "prune" in asked.stages:
        yield [*_without(job, "pruner"), "pruner=random"]
        scope = ["budget.scope=local"] if has_scope else []
        yield [*_without(job, "pruner", "budget.scope"), "pruner=l1", *scope]
    rest = _without(job, *OF_THE_CUT, "protocol")
    for name in (NEVER_CUT, *(FROM_SCRATCH if is_full else ("half",))):
        if why := unfit(name, asked.stages, has_weights=asked.has_weights):
            _tell(
                f"The control protocol={name} is left out where stages is [{','.join(asked.stages)}]: {why}."
            )
        elif name == NEVER_CUT:
            yield [*rest, f"protocol={name}"]
        elif name == "half":
            yield [*_without(rest, "finetune"), f"protocol={name}"]
        elif not {f"pruner={pruner}" for pruner in CHANCE_AND_NORM} & set(job):
            yield [*_without(job, "finetune", "init", "stretch", "protocol"), f"protocol={name}"]


@cache
def _tell(sentence: str) -> None:
    """Say it once: the jobs of a sweep are listed several times."""
    log.warning("%s", sentence)


def _without(job: Sequence[str], *names: str) -> Job:
    """The overrides of a job but those of some keys and of all below them."""
    return [part for part in job if not any(f"{_key(part)}.".startswith(f"{name}.") for name in names)]


def _key(override: str) -> str:
    """The key an override writes to: of ``train@finetune=long`` that is ``finetune``."""
    return override.lstrip("+~").split("=")[0].split("@")[-1]
