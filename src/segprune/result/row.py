"""One flat record per evaluated network."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveInt, SkipValidation, TypeAdapter, ValidationError

from segprune.errors import CheckpointError
from segprune.result.metrics import declared

SCHEMA_VERSION = 2
"""Raised when a column changes its meaning or is removed, not by a new column: rows without it lack the value."""

Value = str | int | float | None
Word = Annotated[str, Field(min_length=1)]

CUT_FIELDS = ("pruner", "budget", "scope")
INT8_SUFFIX = "_int8"
"""What the stage of a quantised network ends in, behind that of the float one."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The result of evaluating one network: what it is, and the metrics that were measured.

    Attributes:
        run: Name of the run.
        stage: What was evaluated: the ``dense`` network (``start``: one of which nothing is known, as of weights
            from elsewhere, which then stands for the dense one in all comparisons below), the one that the
            criterion's own training phase ``prepared`` for the cut, the cut one with the BN statistics from before
            the cut (``pruned_raw``) or with re-estimated ones (``pruned``), the ``finetuned`` one, or a network of
            another stage.
        dataset: Name of the dataset.
        split: Name of the evaluated split.
        model: Name of the architecture.
        pruner: The criterion, of several cuts with + between them; this and the next three are ``None`` for a
            network that is not cut, or of which that is not known.
        budget: What the ratio is a ratio of.
        scope: ``local`` or ``global`` ranking.
        ratio_asked: Fraction to remove, of the dense network and the budget's unit, by all cuts together; ``None``
            also where a threshold decided, or cuts had budgets of different units.
        threshold: Channels with a lower score were to go (``budget=threshold``); ``None`` where a ratio was asked
            for, after several cuts, and in rows of earlier versions.
        transforms: What turned the dense network into this one, in order; ``None`` for the dense one itself.
        seed: Seed of the run.
        size_h_px: Height of the image in evaluation; also that of MACs and latency.
        size_w_px: Width, likewise.
        passes: How images were shown to the network, in words, if not in one pass each: in tiles, mirrored too, at
            several scales. MACs, times and memory are of one pass, of a tile where there are tiles.
        device: Where it was measured.
        gpu: Name of that GPU; ``None`` on a CPU.
        precision: How its convolutions multiplied what it predicts from: ``float32`` or ``tf32``, which has 10 bits
            of mantissa. This and the one before are ``None`` in rows of earlier versions.
        training: How the last training on the way to it computed: ``float32``, ``tf32``, ``bfloat16`` or
            ``float16``, with ``compiled`` behind it where ``torch.compile`` made its kernels; ``None`` where that
            is not known.
        timing: How times were taken: clock, batch, passes, threads, runtimes with their versions, and why one is
            missing; ``None`` in rows of earlier versions.
        fingerprint: Hash of everything that can change this row.
        accepted: The stages whose results, computed by other code, libraries or another GPU, were accepted on the
            way here (``store.accept``), with commas between them; ``None`` if there are none.
        absent: The classes that no label of the split holds, with commas between them: they have no IoU, and mIoU
            is the mean over the others; ``None`` if there are none, and in rows of earlier versions.
        metrics: Name -> value, of what was measured; see ``result.metrics``. Columns that this version does not
            know are here too, as they were read.

    Raises:
        ValueError: A field or metric is ``None`` where it must not be, or the reverse, or a metric cannot have its
            value.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    run: str
    stage: Word
    dataset: str
    split: str
    model: str
    pruner: str | None
    budget: str | None
    scope: Literal["local", "global"] | None
    ratio_asked: Annotated[float, Field(ge=0, le=1)] | None
    threshold: float | None = None
    transforms: str | None = None
    seed: int
    size_h_px: PositiveInt
    size_w_px: PositiveInt
    passes: str | None = None
    device: str
    gpu: str | None = None
    precision: Literal["float32", "tf32"] | None = None
    training: str | None = None
    timing: str | None = None
    fingerprint: str
    accepted: str | None = None
    absent: str | None = None
    metrics: SkipValidation[Mapping[str, Value]]

    def __post_init__(self) -> None:
        described = {name: getattr(self, name) for name in CUT_FIELDS}
        if len({value is None for value in described.values()}) > 1:
            raise ValueError(f"{described} must be null together, for a network that this run did not cut")
        if self.ratio_asked is not None and self.pruner is None:
            raise ValueError(f"ratio_asked is {self.ratio_asked} without a pruner")
        if self.threshold is not None and (self.pruner is None or self.ratio_asked is not None):
            raise ValueError(f"threshold is {self.threshold} without a pruner, or beside a ratio_asked")
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))

    def __getitem__(self, name: str) -> float | None:
        """A metric; ``None`` where it was not measured.

        Raises:
            KeyError: No metric has that name.
        """
        kind = int if declared()[name].is_whole else float
        value = self.metrics.get(name)
        return None if value is None else kind(value)

    def number(self, name: str) -> float:
        """A metric for arithmetic; nan where it was not measured."""
        value = self[name]
        return math.nan if value is None else value

    def _faults(self) -> Iterator[str]:
        """What is wrong with the metrics."""
        known = declared()
        for name, value in self.metrics.items():
            metric = known.get(name)
            if metric is None:
                if not isinstance(value, Value) or (isinstance(value, float) and not math.isfinite(value)):
                    yield f"{name}: must be a text, a finite number or null (got {value!r:.60})"
            elif value is not None:
                if fault := metric.fault(value):
                    yield f"{name}: {fault} (got {value!r:.60})"
                if metric.needs and not self._column(metric.needs):
                    yield f"{name} is {value} where {metric.needs} is {self._column(metric.needs)}"

    def _column(self, name: str) -> Value:
        value: Value = self.metrics[name] if name in self.metrics else getattr(self, name, None)
        return value


_ROW = TypeAdapter(Row)
IDENTITY = tuple(field.name for field in fields(Row) if field.name != "metrics")
"""The columns that say what was evaluated."""


def columns() -> tuple[str, ...]:
    """The columns of every row, in order; a row of another version may have more."""
    return ("schema_version", *IDENTITY, *declared())


def to_record(row: Row) -> dict[str, Value]:
    """The row as a JSON object: all ``columns``, null where nothing was measured, and the columns unknown here."""
    about = {name: getattr(row, name) for name in IDENTITY}
    return {"schema_version": SCHEMA_VERSION, **about, **dict.fromkeys(declared()), **row.metrics}


def from_record(record: Mapping[str, Value]) -> Row:
    """The row of a JSON object that ``to_record`` of this or an earlier version made.

    A metric that it lacks was not measured; a column that is unknown here is kept.

    Raises:
        CheckpointError: The record is of a later version, a column that says what was evaluated is missing, or a
            value is wrong.
    """
    version = record.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= SCHEMA_VERSION:
        raise CheckpointError(
            f"the row has schema_version {version!r}, this program reads 1 to {SCHEMA_VERSION}; read a later one "
            "with the version of segprune that wrote it, and run the experiment again for a damaged one"
        )
    known = declared()
    about = {name: record[name] for name in IDENTITY if name in record}
    metrics = {
        name: value
        for name, value in record.items()
        if name not in (*IDENTITY, "schema_version") and not (value is None and name in known)
    }
    try:
        return _ROW.validate_json(json.dumps({**about, "metrics": metrics}))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r:.60})"
            if fault["loc"]
            else fault["msg"].removeprefix("Value error, ")
            for fault in error.errors()
        )
        raise CheckpointError(
            f"the row of schema_version {version} cannot be read: {faults}; run the experiment again"
        ) from error
