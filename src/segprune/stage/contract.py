"""What a stage is given and what it hands on."""

import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from segprune import gpu
from segprune.checkpoint import checkpoint
from segprune.checkpoint.ancestry import Ancestry, Cause, whole
from segprune.dataset.contract import SegData
from segprune.errors import ConfigError
from segprune.measure.cost import Cost
from segprune.measure.passes import ONE_PASS, Passes
from segprune.model.contract import Predicts, SegmentationNet
from segprune.model.copies import channels_last
from segprune.pruner.contract import Scope
from segprune.result.row import Row
from segprune.schedule.schedule import Schedule
from segprune.stage.planned import PlannedTraining
from segprune.store.code import code_of, modules_of
from segprune.store.fingerprint import Fingerprint, digests, fingerprint
from segprune.store.store import Entry, Store
from segprune.tracking.contract import Tracker
from segprune.training.step import Hardware, MakeStep
from segprune.transform.contract import Transform


@dataclass(frozen=True, kw_only=True)
class NetState:
    """A network at one point of the chain.

    Attributes:
        name: As in its row: ``dense``, ``pruned``, ``finetuned`` ...; ``start`` where a chain starts from a network
            of which that is not known.
        net: The network, or a runner of a deployed file; nobody changes it in place.
        transforms: What turned the dense network into it, in order.
        fingerprint: Hash of everything that made it.
        folder: Where its checkpoint is; None for a network without one of its own.
        accepted: The stages whose results, computed by other code, libraries or another GPU, were accepted on the
            way to it.
        cost: Of a runner, if the stage that made it knows; that of a network is counted.
        file_size_bytes: Size of a runner's file, likewise.
        training: How the last training on the way to it computed, as in rows; None where that is not known.
        model: Its architecture, where that is not the run's; None: it is.
        ancestry: Its dense network and the steps since; None where that is not known. The chain adds it.
    """

    name: str
    net: Predicts
    transforms: tuple[Transform, ...]
    fingerprint: str
    folder: Path | None = None
    accepted: frozenset[str] = frozenset()
    cost: Cost | None = None
    file_size_bytes: int | None = None
    training: str | None = None
    model: str | None = None
    ancestry: Ancestry | None = None

    @property
    def module(self) -> SegmentationNet:
        """The network, for those who train, cut or probe it.

        Raises:
            ConfigError: There is only a runner.
        """
        if isinstance(self.net, SegmentationNet):
            return self.net
        raise ConfigError(
            f"{self.name} is a runner ({type(self.net).__name__}), which can only be evaluated. In stages, put "
            "those that train or cut before the one that makes it."
        )


Trail = tuple[NetState, ...]
"""Every network of the chain so far, in order; the next stage takes the last one."""


def is_orphan(first: NetState) -> bool:
    """Whether the dense network of a trail's first one is known but not there, so that it is in no trail."""
    return first.ancestry is not None and bool(first.ancestry.steps)


@dataclass(frozen=True, kw_only=True)
class RowFacts:
    """What the rows say besides the measurements.

    Attributes:
        run: Name of the run.
        model: Option of the config group.
        pruner: Likewise.
        budget: What the ratio is a fraction of.
        scope: Where the scores were ranked.
        ratio: Fraction to remove; ``None`` where a threshold decides.
        threshold: Channels with a lower score go; ``None`` where a ratio decides.
        labels: Stage -> the part of a run's name that says what it did; of others their word does.
    """

    run: str
    model: str
    pruner: str
    budget: str
    scope: Scope
    ratio: float | None
    threshold: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def cause(self) -> Cause:
        """How the run's own cut is asked for."""
        return Cause(
            pruner=self.pruner,
            budget=self.budget,
            scope=self.scope,
            ratio=self.ratio,
            threshold=self.threshold,
        )

    def of(self, state: NetState) -> "RowFacts":
        """Those of one network, which an earlier run may have cut, by another criterion."""
        facts = replace(self, model=state.model or self.model)
        cuts = state.ancestry.cuts if state.ancestry else []
        if not cuts:
            return facts
        cut = whole(cuts)
        return replace(facts, **vars(cut))


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a run is given.

    Attributes:
        data: The dataset.
        build: Makes the dense network with its seeded initial weights.
        about: What ``build`` and ``data`` are, as plain values: goes into fingerprints and checkpoints.
        sources: The modules that ``build`` and ``data`` come from.
        seed: The run's seed.
        hardware: Where it runs.
        store: Finished results.
        tracker: The run's tracker.
        facts: What its rows say besides measurements.
        keys: Argument of a stage, as ``stage.train.schedule`` -> the key that gives its value, as ``train``.
        passes: How images of the report and select roles are shown to networks.
        teachers: Reads the networks that ``teacher.checkpoint`` and ``teacher.model`` name.
        rows: What the stages so far have measured; a stage adds its own.
    """

    data: SegData
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

    @property
    def pass_hw(self) -> tuple[int, int]:
        """(H, W) in px of one forward pass in evaluation, of which costs and times are: a tile, or an image."""
        return self.passes.size_hw(self.data.size_hw)

    @property
    def several_passes(self) -> Passes | None:
        """The passes, where an image is not shown in a single one."""
        return None if self.passes.is_single else self.passes

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


def identity(part: object) -> dict[str, Any]:
    """A configured object as plain values: its class and its fields, and so of the objects that it holds.

    A file that a field names counts with its content, see ``digests``.

    Raises:
        ConfigError: It is no dataclass object, so its fields are not known.
    """
    kind = type(part)
    if not is_dataclass(part) or isinstance(part, type):
        raise ConfigError(
            f"{kind.__module__}.{kind.__qualname__} must be a dataclass: its fields tell its results apart"
        )
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    files = digests(values)
    held = {name: _plain(value) for name, value in values.items()}
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        **held,
        **({"files": files} if files else {}),
    }


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return identity(value) if is_dataclass(value) and not isinstance(value, type) else value


def fingerprint_of(
    ctx: Context, word: str, inputs: Mapping[str, Any], *parts: object, without: Collection[str] = ()
) -> Fingerprint:
    """The fingerprint of a result: of its inputs and of the code, the libraries and the GPU that compute it.

    The code is that of the network, of the dataset and of all parts, with all that it imports; of a package outside
    of segprune it is all. See ``code_of``.

    Args:
        ctx: The run.
        word: The kind of result, by which the store keeps it.
        inputs: What else can change it, as plain JSON values; of a network its fingerprint.
        parts: What computes it: the stage itself, and any other objects or names of modules.
        without: Rooms and modules of segprune that the parts import and that do not change this result.
    """
    modules = ctx.sources.union(*map(modules_of, parts))
    made_by = {**code_of(modules, without=without), **gpu.inputs_of(ctx.hardware.device)}
    return fingerprint(word, {**inputs, **made_by})


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


def ready(net: SegmentationNet, device: torch.device) -> SegmentationNet:
    """The network itself, to be run on a device: in evaluation mode, channels last like the images."""
    return channels_last(net.to(device)).eval()


def origin_of(entry: Entry) -> str:
    """``computed``, ``reused``, or ``accepted`` for a result of other code."""
    return "accepted" if entry.accepted else "reused" if entry.was_reused else "computed"


def note_source(entry: Entry, ctx: Context, word: str) -> None:
    """Tell the tracker whether a stage was computed or reused, and from which run."""
    source = checkpoint.describe(entry.folder).get("run_id", "") if entry.was_reused else ctx.tracker.run_id
    ctx.tracker.tags({f"stage.{word}": origin_of(entry), f"stage.{word}.source_run": source or "untracked"})
