"""What a stage is given, and what a stage and its step are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from segprune.measure.passes import ONE_PASS, Passes
from segprune.model.contract import SegmentationNet
from segprune.result.row import Row
from segprune.schedule.schedule import Schedule
from segprune.stage.facts import RowFacts
from segprune.stage.planned import PlannedTraining
from segprune.stage.shown import Shown
from segprune.stage.state import Trail
from segprune.store.store import Store
from segprune.tracking.contract import Tracker
from segprune.training.step import Hardware, MakeStep


@dataclass(frozen=True, kw_only=True)
class Context(Shown):
    """What a run is given.

    Attributes:
        build: Makes the dense network with its seeded initial weights.
        about: What ``build`` and ``data`` are, as plain values: goes into fingerprints and checkpoints.
        sources: The modules that ``build`` and ``data`` come from.
        seed: The run's seed.
        hardware: Where it runs.
        store: Finished results.
        tracker: The run's tracker.
        facts: What its rows say besides measurements.
        keys: Argument of a stage, as ``stage.train.schedule`` -> the key that gives its value, as ``train``.
        passes: See ``Shown``; one pass where nothing else is given.
        teachers: Reads the networks that ``teacher.checkpoint`` and ``teacher.model`` name.
        rows: What the stages so far have measured; a stage adds its own.
    """

    build: Callable[[], SegmentationNet]
    about: Mapping[str, Any]
    sources: frozenset[str]
    seed: int
    hardware: Hardware
    store: Store
    tracker: Tracker
    facts: RowFacts
    keys: Mapping[str, str] = field(default_factory=dict)
    passes: Passes = ONE_PASS
    teachers: "Callable[[], Trail]" = tuple
    rows: list[Row] = field(default_factory=list)

    def key_of(self, stage: "Stage", argument: str) -> str:
        """The key to type for an argument of a stage."""
        place = f"stage.{stage.word}.{argument}"
        return self.keys.get(place, place)


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """One link of the chain; what else it is given comes from ``conf/stage/<word>.yaml``.

    Attributes:
        word: Its name in the ``stages`` list of the configuration, which is given to it.
    """

    word: str

    @property
    def starts(self) -> bool:
        """Whether it makes the dense network that the chain begins with, so that it needs no checkpoint."""
        return False

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that it adds to the trail, as far as they are known before it runs."""
        return ()

    @property
    def keeps(self) -> tuple[str, ...]:
        """The words under which it keeps results: its own, and those of parts of its work that others can share."""
        return (self.word,)

    @property
    def only_measures(self) -> bool:
        """Whether it makes no network and its results depend on the machine; ``segprune plan`` leaves it out."""
        return False

    def refuse(self, ctx: Context, start: Trail) -> None:  # noqa: B027 - most stages need no check
        """Check, before anything is trained, all that can be known then; nothing by default.

        Args:
            ctx: The run.
            start: The network of the checkpoint that the chain starts from; empty without one.

        Raises:
            SegpruneError: It cannot do its work; says which key to change.
        """

    def memory_keys(self, ctx: Context) -> tuple[str, ...]:  # noqa: ARG002 - stages that know read it
        """The keys that say how much memory it needs, for whom it runs out; empty: not known."""
        return ()

    def trainings(self, ctx: Context) -> Sequence[PlannedTraining]:  # noqa: ARG002 - stages that train read it
        """The trainings that it will do, of which ``segprune plan`` tells schedules and time; none by default."""
        return ()

    def images_shown(self, ctx: Context, networks: int) -> int:  # noqa: ARG002 - stages that know read them
        """How many images it will show to networks besides training them, for ``segprune plan``; 0 by default.

        Args:
            ctx: The run.
            networks: Of those in the trail, how many no other run has looked at.
        """
        return 0

    @abstractmethod
    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail, longer by the networks this stage made; what it measured goes to ``ctx.rows``.

        Slow work belongs in the ``make`` of ``ctx.store.get``: it is then done once, survives a kill, and
        ``segprune plan`` shows it without doing it.
        """


@runtime_checkable
class StepFactory(Protocol):
    """Makes the step that a stage trains by: a dataclass whose fields say all that it does.

    Results are told apart by these fields, so one that reads a file has the file's digest as a field.
    """

    def __call__(self, ctx: Context, trail: Trail) -> MakeStep:
        """The callable that ``fit`` makes its step with.

        Args:
            ctx: The run.
            trail: Every network so far: the last one is trained, the first one can teach it.

        Raises:
            ConfigError: The trail lacks what the step needs.
        """


@runtime_checkable
class RefusingStepFactory(StepFactory, Protocol):
    """A step factory that can know before work starts that it cannot do its own."""

    def refuse(self, ctx: Context, start: Trail, stage: Any) -> None:
        """Check all that can be known then.

        Args:
            ctx: The run.
            start: The network of the checkpoint that the chain starts from; empty without one.
            stage: The stage that is to train by the step.

        Raises:
            SegpruneError: It cannot do its work; says which key to change.
        """


@runtime_checkable
class ShorteningStepFactory(StepFactory, Protocol):
    """A step factory whose steps cost more than plain ones, and which can train for fewer epochs instead."""

    def shortened(self, ctx: Context, trail: Trail, schedule: Schedule) -> Schedule:
        """The schedule that the stage trains by."""


@runtime_checkable
class CostlyStepFactory(StepFactory, Protocol):
    """A step factory that knows how much longer than plain ones its steps take."""

    def effort(self, ctx: Context) -> float:
        """Time of the whole training, in that of plain steps by the schedule that was asked for."""
