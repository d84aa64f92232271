"""The numbers of a run that the tracker shows."""

from collections.abc import Sequence

from segprune.result.row import Row

_DIGITS = {"eval/gmacs": 4, "eval/mparams": 4, "eval/file_size_mb": 4}
_SIGNIFICANT = {"eval/logit_mse", "prune/logit_mse"}


def headline(rows: Sequence[Row]) -> dict[str, float]:
    """Metric name -> value of the last network; ``baseline/`` of the first, ``prune/`` before finetuning.

    Percent unless the name has a unit; ``logit_mse``, ``speedup`` and ``realisation_efficiency`` are bare. Rounded
    as shown in the UI; what was not measured is left out.
    """
    by_stage = {row.stage: row for row in rows}
    last, raw, pruned = rows[-1], by_stage.get("pruned_raw"), by_stage.get("pruned")
    values: dict[str, float | None] = {
        "baseline/miou": rows[0].miou_percent,
        "prune/miou_raw": raw.miou_percent if raw else None,
        "prune/miou": pruned.miou_percent if pruned else None,
        "prune/logit_mse": pruned.logit_mse if pruned else None,
        "prune/argmax_agreement": pruned.argmax_agreement_percent if pruned else None,
        **{f"eval/{name}": value for name, value in (_worth(last) | _cost(last)).items()},
    }
    return {name: _rounded(name, value) for name, value in values.items() if value is not None}


def _worth(row: Row) -> dict[str, float | None]:
    return {
        "miou": row.miou_percent,
        "pixel_accuracy": row.pixel_accuracy_percent,
        "mean_accuracy": row.mean_accuracy_percent,
        "fw_iou": row.fw_iou_percent,
        "miou_retention": _percent(row.miou_retention),
        "pixel_accuracy_retention": _percent(row.pixel_accuracy_retention),
        "boundary_iou": row.boundary_iou_percent,
        "small_object_recall": row.small_object_recall_percent,
        "logit_mse": row.logit_mse,
        "argmax_agreement": row.argmax_agreement_percent,
    }


def _cost(row: Row) -> dict[str, float | None]:
    return {
        "channels_kept": 100 * row.channels_kept,
        "macs_kept": 100 * row.macs_kept,
        "params_kept": 100 * row.params_kept,
        "gmacs": row.macs / 1e9,
        "mparams": row.params / 1e6,
        "file_size_mb": row.file_size_bytes / 1e6,
        "peak_memory_mb": row.peak_memory_mb,
        "latency_ms": row.latency_ms_median,
        "latency_ms_iqr": row.latency_ms_iqr,
        "latency_ms_p95": row.latency_ms_p95,
        "frames_per_s": row.frames_per_s,
        "mpixels_per_s": None if row.pixels_per_s is None else row.pixels_per_s / 1e6,
        "speedup": row.speedup,
        "realisation_efficiency": row.realisation_efficiency,
    }


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _rounded(name: str, value: float) -> float:
    return float(f"{value:.4g}") if name in _SIGNIFICANT else round(value, _DIGITS.get(name, 2))
