"""Rows of known numbers."""

from typing import Any

from segprune.measure.contract import OTHER_RUNTIMES
from segprune.result.row import Row, from_record, to_record


def changed(row: Row, **columns: Any) -> Row:
    """The row with other values in some columns."""
    return from_record(to_record(row) | columns)


DENSE = from_record(
    {
        "schema_version": 2,
        "run": "taylor-r0.3",
        "stage": "dense",
        "dataset": "streets",
        "split": "val",
        "model": "unet",
        "pruner": None,
        "budget": None,
        "scope": None,
        "ratio_asked": None,
        "ratio_reached": None,
        "seed": 3,
        "size_h_px": 96,
        "size_w_px": 128,
        "params": 485_000,
        "macs": 712_345_678,
        "channels": 640,
        "channels_dense": 640,
        "params_kept": 1.0,
        "macs_kept": 1.0,
        "channels_kept": 1.0,
        "miou_percent": 54.7,
        "pixel_accuracy_percent": 86.25,
        "mean_accuracy_percent": 0.1 + 0.2,  # no short decimal: has to survive to the last bit
        "dice_percent": 66.0,
        "fw_iou_percent": 77.5,
        "classes_scored": 11,
        "miou_retention": 1.0,
        "pixel_accuracy_retention": 1.0,
        "boundary_iou_percent": 31.5,
        "small_objects": 40,
        "small_object_recall_percent": 62.5,
        "hd95_px": 1.25,
        "hd95_missed": 2,
        "logit_mse": None,
        "argmax_agreement_percent": None,
        "latency_batch_size": None,
        "latency_ms_median": None,
        "latency_ms_p95": None,
        "latency_ms_iqr": None,
        "frames_per_s": None,
        "pixels_per_s": None,
        "speedup": None,
        "realisation_efficiency": None,
        "file_size_bytes": 1_951_232,
        "peak_memory_mb": None,
        "device": "cpu",
        "fingerprint": "ab12",
    }
)
"""Every column of version 2, as it was written before metrics were declared; not timed."""
CUT = changed(
    DENSE,
    stage="pruned",
    pruner="taylor",
    budget="channels",
    scope="global",
    ratio_asked=0.3,
    ratio_reached=0.2984375,
    logit_mse=0.25,
    argmax_agreement_percent=87.5,
    latency_batch_size=1,
    latency_ms_median=12.5,
    latency_rounds=60,
    latency_ms_p90=12.9,
    latency_ms_p95=13.0,
    latency_ms_p95_bound=13.2,
    latency_ms_iqr=0.5,
    frames_per_s=80.0,
    pixels_per_s=983_040.0,
    speedup=1.5,
    realisation_efficiency=0.9,
    peak_memory_mb=4.5,
    **{
        name: value
        for runtime in OTHER_RUNTIMES
        for name, value in (
            (f"latency_{runtime}_ms", 2.5),
            (f"speedup_{runtime}", 1.25),
            (f"realisation_efficiency_{runtime}", 0.5),
        )
    },
    report_images=100,
    report_frames=0,
    layers_aligned_4_percent=75.0,
    layers_aligned_8_percent=50.0,
)
VERSION_1 = (
    *(
        "run",
        "stage",
        "dataset",
        "split",
        "model",
        "pruner",
        "budget",
        "scope",
        "ratio_asked",
        "ratio_reached",
    ),
    *("seed", "size_h_px", "size_w_px", "params", "macs", "channels", "channels_dense", "params_kept"),
    *("macs_kept", "channels_kept", "miou_percent", "pixel_accuracy_percent", "mean_accuracy_percent"),
    *("fw_iou_percent", "classes_scored", "miou_retention", "latency_ms_median", "latency_ms_iqr", "speedup"),
    *("device", "fingerprint"),
)
"""The columns that rows of version 1 had."""


def version_1(row: Row) -> dict[str, Any]:
    """The row as version 1 wrote it."""
    record = to_record(row)
    return {"schema_version": 1, **{name: record[name] for name in VERSION_1}}
