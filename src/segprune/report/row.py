"""One flat record per evaluated network."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from segprune.errors import CheckpointError

SCHEMA_VERSION = 1
"""Raised when a field is added, removed or changes its meaning."""

Stage = Literal["dense", "start", "pruned_raw", "pruned", "finetuned"]
Value = str | int | float | None
Fraction = Annotated[float, Field(ge=0, le=1)]


CUT_FIELDS = ("pruner", "budget", "scope", "ratio_asked", "ratio_reached")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The result of evaluating one network: units in the names, bare fractions of the dense network.

    Attributes:
        run: Name of the run.
        stage: What was evaluated: the ``dense`` network (``start``: a checkpoint that is cut already, which then
            stands for the dense one in the fractions below), the cut one with the dense BN statistics
            (``pruned_raw``) or with statistics estimated anew (``pruned``), or the ``finetuned`` one.
        dataset: Name of the dataset.
        split: Name of the split that was scored.
        model: Name of the architecture.
        pruner: The criterion; this and the next four are ``None`` for a network that the run did not cut.
        budget: What the ratio is a ratio of.
        scope: ``local`` or ``global`` ranking.
        ratio_asked: Fraction to remove, of the budget's unit.
        ratio_reached: Fraction removed, of the budget's unit.
        seed: Seed of the run.
        size_h_px: Height of the image in evaluation; also that of MACs and latency.
        size_w_px: Width, likewise.
        params: Parameters, without training-only submodules.
        macs: Multiply-adds per image.
        channels: Prunable channels that are left.
        channels_dense: Prunable channels of the dense network.
        params_kept: Fraction of the dense network's parameters.
        macs_kept: Fraction of its multiply-adds.
        channels_kept: Fraction of its prunable channels.
        miou_percent: Mean IoU over the classes that occur in the split's labels.
        pixel_accuracy_percent: Correct pixels by scored pixels.
        mean_accuracy_percent: Mean of the classes' accuracies.
        fw_iou_percent: IoU weighted by the classes' share of the pixels.
        classes_scored: Number of classes that occur in the split's labels.
        miou_retention: mIoU by the dense network's mIoU; ``None`` if that is 0.
        latency_ms_median: Median time of a batch; ``None`` if it was not measured, as the next two.
        latency_ms_iqr: Interquartile range of the times.
        speedup: Dense time by this network's time, paired by round.
        device: Where it was measured.
        fingerprint: Hash of everything that can change this row.

    Raises:
        ValueError: A field is ``None`` where it must not be, or the reverse.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    run: str
    stage: Stage
    dataset: str
    split: str
    model: str
    pruner: str | None
    budget: str | None
    scope: Literal["local", "global"] | None
    ratio_asked: Fraction | None
    ratio_reached: Fraction | None
    seed: int
    size_h_px: PositiveInt
    size_w_px: PositiveInt
    params: NonNegativeInt
    macs: NonNegativeInt
    channels: NonNegativeInt
    channels_dense: NonNegativeInt
    params_kept: NonNegativeFloat
    macs_kept: NonNegativeFloat
    channels_kept: Fraction
    miou_percent: NonNegativeFloat
    pixel_accuracy_percent: NonNegativeFloat
    mean_accuracy_percent: NonNegativeFloat
    fw_iou_percent: NonNegativeFloat
    classes_scored: PositiveInt
    miou_retention: NonNegativeFloat | None
    latency_ms_median: NonNegativeFloat | None
    latency_ms_iqr: NonNegativeFloat | None
    speedup: NonNegativeFloat | None
    device: str
    fingerprint: str

    def __post_init__(self) -> None:
        cut = {field: getattr(self, field) for field in CUT_FIELDS}
        if len({value is None for value in cut.values()}) > 1:
            raise ValueError(f"{cut} must be null together, for a network that this run did not cut")
        if (self.latency_ms_median is None) != (self.latency_ms_iqr is None):
            raise ValueError(f"latency_ms_iqr is {self.latency_ms_iqr!r}; median and iqr come together")
        if self.speedup is not None and self.latency_ms_median is None:
            raise ValueError(f"speedup is {self.speedup} without a latency_ms_median")


_ROW = TypeAdapter(Row)


def to_record(row: Row) -> dict[str, Value]:
    """The row as a JSON object, with its ``schema_version`` first."""
    return {"schema_version": SCHEMA_VERSION, **asdict(row)}


def from_record(record: Mapping[str, Value]) -> Row:
    """The row of a JSON object that ``to_record`` made.

    Raises:
        CheckpointError: The record is of another version, or a key is missing, unknown or of a wrong value.
    """
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"the row has schema_version {version!r}, this program reads {SCHEMA_VERSION}; "
            "run the experiment again or read the row with the version that wrote it"
        )
    fields = {key: value for key, value in record.items() if key != "schema_version"}
    try:
        return _ROW.validate_json(json.dumps(fields))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'row'}: {fault['msg']} (got {fault['input']!r:.60})"
            for fault in error.errors()
        )
        raise CheckpointError(
            f"the row of schema_version {SCHEMA_VERSION} cannot be read: {faults}; run the experiment again"
        ) from error
