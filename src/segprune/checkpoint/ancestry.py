"""Where the network of a checkpoint comes from: its dense network, and every step since.

A file beside the checkpoint. A run writes it when a stage has made the checkpoint, and again when it has measured
the dense network. The checkpoint's checksums do not cover it: one that is missing or damaged leaves the checkpoint
readable, and its dense network unknown.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from segprune import durable
from segprune.checkpoint.contract import ANCESTRY

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Cause:
    """How a cut was asked for.

    Attributes:
        pruner: Option of the config group.
        budget: What the ratio is a fraction of.
        scope: ``local`` or ``global`` ranking.
        ratio: Fraction to remove of the network before it; None where a threshold decided.
        threshold: Channels with a lower score were to go; None where a ratio decided, and after several cuts.
    """

    pruner: str
    budget: str
    scope: Literal["local", "global"]
    ratio: Annotated[float, Field(ge=0, le=1)] | None
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """A stage that made a network of the one before it.

    Attributes:
        network: Its name in that run.
        label: The part of a run's name that says what was done, as ``taylor-r0.3`` or ``ft``.
        cut: How a cut was asked for; None for a step that cuts nothing.
    """

    network: str
    label: str
    cut: Cause | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of the dense network on some images.

    Attributes:
        data: Digest of the images and labels.
        row: Its row, as rows are written.
    """

    data: str
    row: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ancestry:
    """The dense network of a checkpoint, and the way from it.

    Attributes:
        network: Name of the dense network in the run that began with it.
        fingerprint: Hash of everything that made it.
        weights_sha256: Of its weights; None where they have no checkpoint.
        place: Its checkpoint: ``<stage>/<fingerprint>`` in a store, or a folder outside of one; None without one.
        steps: What was done since, in order; empty for the dense network itself.
        measured: Its rows, as far as it was evaluated.
    """

    network: str
    fingerprint: str
    weights_sha256: str | None
    place: str | None
    steps: tuple[Step, ...] = ()
    measured: tuple[Measured, ...] = ()

    @property
    def root(self) -> str:
        """What tells the dense network from others: hash of its weights, else of what made them."""
        return self.weights_sha256 or self.fingerprint

    @property
    def cuts(self) -> list[Cause]:
        """How the cuts on the way were asked for, in order."""
        return [step.cut for step in self.steps if step.cut is not None]

    @property
    def label(self) -> str:
        """What was done to the dense network, as a part of a run's name; empty for itself."""
        return "-".join(step.label for step in self.steps)

    def then(self, step: Step) -> "Ancestry":
        """That of a network that a step made of this one."""
        return replace(self, steps=(*self.steps, step))

    def row_of(self, data: str, **about: object) -> Mapping[str, Any] | None:
        """The dense network's row on these images; None if there is none.

        Args:
            data: Their digest.
            about: Columns that have to be equal, such as ``size_h_px``.
        """
        rows = (one.row for one in self.measured if one.data == data)
        return next((row for row in rows if all(row.get(name) == about[name] for name in about)), None)


_ANCESTRY = TypeAdapter(Ancestry)


def write(folder: Path, ancestry: Ancestry) -> None:
    """Write it beside a checkpoint, with what was measured before; what cannot be written stays as it is."""
    before = read(folder)
    kept = before.measured if before and before.fingerprint == ancestry.fingerprint else ()
    merged = {(one.data, json.dumps(_setting(one.row))): one for one in (*kept, *ancestry.measured)}
    content = {"format": FORMAT, **asdict(replace(ancestry, measured=tuple(merged.values())))}
    with contextlib.suppress(OSError), durable.replacing(folder / ANCESTRY, is_shared=True) as file:
        file.write(json.dumps(content, indent=1).encode())


def _setting(row: Mapping[str, Any]) -> list[Any]:
    return [row.get(name) for name in ("split", "size_h_px", "size_w_px", "passes")]


def read(folder: Path) -> Ancestry | None:
    """What is written beside a checkpoint; None where that is nothing, damaged, or of a later format."""
    try:
        content = json.loads((folder / ANCESTRY).read_bytes())
        if content.pop("format") != FORMAT:
            return None
        return _ANCESTRY.validate_python(content)
    except (OSError, ValueError, LookupError, AttributeError, TypeError, ValidationError):
        return None
