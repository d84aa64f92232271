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

SCHEMA_VERSION = 2
"""Raised when a field is added, removed or changes its meaning."""

Stage = Literal["dense", "start", "prepared", "pruned_raw", "pruned", "finetuned"]
Value = str | int | float | None
Fraction = Annotated[float, Field(ge=0, le=1)]

CUT_FIELDS = ("pruner", "budget", "scope", "ratio_reached")
_TIMES = ("latency_ms_median", "latency_ms_p95", "latency_ms_iqr")
LATENCY_FIELDS = ("latency_batch_size", *_TIMES, "frames_per_s", "pixels_per_s")
RECONSTRUCTION_FIELDS = ("logit_mse", "argmax_agreement_percent")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The result of evaluating one network: units in the names, bare fractions of the dense network.

    Attributes:
        run: Name of the run.
        stage: What was evaluated: the ``dense`` network (``start``: a checkpoint that is cut already, which then
            stands for the dense one in all comparisons below), the one that the criterion's own training phase
            ``prepared`` for the cut, the cut one with the BN statistics from before the cut (``pruned_raw``) or
            with statistics estimated anew (``pruned``), or the ``finetuned`` one.
        dataset: Name of the dataset.
        split: Name of the split that was scored.
        model: Name of the architecture.
        pruner: The criterion; this and the next four are ``None`` for a network that the run did not cut.
        budget: What the ratio is a ratio of.
        scope: ``local`` or ``global`` ranking.
        ratio_asked: Fraction to remove, of the budget's unit; ``None`` also where a threshold decided.
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
        pixel_accuracy_retention: Pixel accuracy by the dense network's; ``None`` if that is 0.
        boundary_iou_percent: IoU of the bands along class borders, mean over the classes that have a labelled
            border; ``None`` if no class has one.
        small_objects: Number of small connected parts of one class in the split's labels.
        small_object_recall_percent: How many of them have at least half of their pixels right; ``None`` if there
            are none.
        logit_mse: Mean squared difference of the logits from the dense network's; ``None`` for that one, as the
            next.
        argmax_agreement_percent: Pixels predicted as the dense network does, right or wrong.
        latency_batch_size: Images in a timed batch; ``None`` if nothing was timed, as the next seven.
        latency_ms_median: Median time of a batch.
        latency_ms_p95: 95th percentile of the times.
        latency_ms_iqr: Interquartile range of the times.
        frames_per_s: Images per second at the median time.
        pixels_per_s: Pixels of these images per second.
        speedup: Dense time by this network's time, paired by round; also the gain in frames per second.
        realisation_efficiency: Share of the MACs' speed-up that was measured: ``speedup * macs_kept``; ``None`` for
            a network that the run did not cut.
        file_size_bytes: Weights and buffers as a safetensors file, without training-only submodules.
        peak_memory_mb: Most tensor memory in use in one forward pass of ``latency_batch_size`` images beyond
            weights and images, in 10^6 bytes; ``None`` if it was not measured.
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
    pixel_accuracy_retention: NonNegativeFloat | None
    boundary_iou_percent: NonNegativeFloat | None
    small_objects: NonNegativeInt
    small_object_recall_percent: NonNegativeFloat | None
    logit_mse: NonNegativeFloat | None
    argmax_agreement_percent: NonNegativeFloat | None
    latency_batch_size: PositiveInt | None
    latency_ms_median: NonNegativeFloat | None
    latency_ms_p95: NonNegativeFloat | None
    latency_ms_iqr: NonNegativeFloat | None
    frames_per_s: NonNegativeFloat | None
    pixels_per_s: NonNegativeFloat | None
    speedup: NonNegativeFloat | None
    realisation_efficiency: NonNegativeFloat | None
    file_size_bytes: PositiveInt
    peak_memory_mb: NonNegativeFloat | None
    device: str
    fingerprint: str

    def __post_init__(self) -> None:
        self._refuse_parts(CUT_FIELDS, "for a network that this run did not cut")
        self._refuse_parts(LATENCY_FIELDS, "where nothing was timed")
        self._refuse_parts(RECONSTRUCTION_FIELDS, "for the network that others are compared with")
        self._refuse_alone("ratio_asked", "pruner")
        self._refuse_alone("speedup", "latency_ms_median")
        self._refuse_alone("realisation_efficiency", "speedup")
        if (self.small_object_recall_percent is None) != (self.small_objects == 0):
            raise ValueError(
                f"small_object_recall_percent is {self.small_object_recall_percent} of {self.small_objects} "
                "small_objects; it is null exactly where there are none"
            )

    def _refuse_parts(self, names: tuple[str, ...], where: str) -> None:
        values = {name: getattr(self, name) for name in names}
        if len({value is None for value in values.values()}) > 1:
            raise ValueError(f"{values} must be null together, {where}")

    def _refuse_alone(self, name: str, needed: str) -> None:
        if getattr(self, name) is not None and getattr(self, needed) is None:
            raise ValueError(f"{name} is {getattr(self, name)} without a {needed}")


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
