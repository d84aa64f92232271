"""The evaluation of one run as one JSON object: losses and gains, overall and by class and layer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from segprune.measure.cost import MACS_RULE
from segprune.result.caution import cautions
from segprune.result.metrics import declared
from segprune.result.parts import parts_of
from segprune.result.row import CUT_FIELDS, IDENTITY, Row, Value, to_record

SCHEMA_VERSION = 2
"""Raised when a key changes its meaning or is removed, not by a new key."""

_SETTING = (
    *(
        "dataset",
        "split",
        "model",
        "seed",
        "size_h_px",
        "size_w_px",
        "passes",
        "classes_scored",
        "report_frames",
        "device",
        "gpu",
        "precision",
        "timing",
    ),
)
_CUT = (*CUT_FIELDS, "ratio_asked", "threshold", "ratio_reached")
_NOT_METRICS = {"schema_version", "report_images", *IDENTITY, *_SETTING, *_CUT}
_USUAL = {
    "mIoU": "miou_percent",
    "Pixel_Accuracy": "pixel_accuracy_percent",
    "Mean_Accuracy": "mean_accuracy_percent",
    "Frequency_Weighted_IoU": "fw_iou_percent",
}
"""Names that evaluation scripts of the field give to these scores, as bare fractions."""
_GAINS = {
    "miou_retention": "miou_retention",
    "pixel_accuracy_retention": "pixel_accuracy_retention",
    "speedup_latency": "speedup",
    "speedup_fps": "speedup",
    "realisation_efficiency": "realisation_efficiency",
}
"""Likewise of what is kept and gained; and ``channel_prune_ratio``, which is 1 - ``channels_kept``."""
_OUTPUTS = ("logit_mse", "argmax_agreement_percent")


def evaluation_report(
    rows: Sequence[Row],
    *,
    classes: Sequence[str],
    by_class: Mapping[str, Mapping[str, Sequence[float]]],
    layers: Mapping[str, tuple[int, int]],
    ancestor: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report of a trail: its first network is the baseline, its last one the candidate.

    Units are in the names as in ``Row``, which documents every metric; ``null`` is what does not apply or was not
    measured.

    Args:
        rows: One per network of the trail, in its order.
        classes: K names.
        by_class: Score, as ``iou`` -> stage -> K fractions, nan where it is not defined.
        layers: Layer -> prunable channels before, after.
        ancestor: The dense network that rows are compared with, if it is not the first one.

    Returns:
        A JSON object of these keys:

        - ``schema_version``: of this object.
        - ``setting``: on what was evaluated.
        - ``cut``: pruner, budget, scope, ratio asked or threshold, ratio reached; ``null`` if the candidate was not
          cut.
        - ``baseline``, ``candidate``: stage, fingerprint, transforms, training, ``metrics``, and ``mIoU``,
          ``Pixel_Accuracy``, ``Mean_Accuracy``, ``Frequency_Weighted_IoU`` as fractions; no candidate for a
          single network.
        - ``miou_retention``, ``pixel_accuracy_retention``, ``speedup_latency``, ``speedup_fps``,
          ``channel_prune_ratio``, ``realisation_efficiency``: of the candidate, fractions and factors of the
          baseline; the gain in frames per second is that in latency, timed in turns.
        - ``change``: candidate less baseline in points, of every metric in percent that is not relative already.
        - ``reconstruction``: outputs against the baseline's, ``before_finetune`` and ``after_finetune``.
        - ``classes``: each score of ``by_class`` of each class in percent, and the change in points.
        - ``layers``: prunable channels of each layer before and after, and its part, backbone or head.
        - ``<role>_results``, ``<role>_speed``, ``<role>_flops_params``: the same numbers of the baseline and the
          candidate once more, as evaluation scripts of the field lay them out.
        - ``ancestor``: the dense network, where it is known but not there, so that the baseline is none; else null.
        - ``macs_rule``: what counts as a multiply-add.
        - ``caution``: what to keep in mind with the numbers of these images, in sentences; ``null`` if nothing.
    """
    baseline, candidate = rows[0], rows[-1] if len(rows) > 1 else None
    shown = {"baseline": baseline.stage, **({"candidate": candidate.stage} if candidate else {})}
    record = to_record(baseline)
    return {
        "schema_version": SCHEMA_VERSION,
        "setting": {**{name: record[name] for name in _SETTING}, "images": record["report_images"]},
        "cut": _cut(candidate),
        "baseline": _network(baseline),
        "candidate": _network(candidate) if candidate else None,
        **_gains(candidate),
        "change": _changes(baseline, candidate) if candidate else None,
        "reconstruction": _reconstruction(rows),
        "classes": [
            {
                "class": name,
                **{
                    key: value
                    for score, values in by_class.items()
                    for key, value in _of_class(
                        score, {role: values[stage][index] for role, stage in shown.items()}
                    ).items()
                },
            }
            for index, name in enumerate(classes)
        ],
        "layers": [
            {"layer": name, "part": part, "channels_before": before, "channels_after": after}
            for (name, (before, after)), part in zip(layers.items(), parts_of(list(layers)), strict=True)
        ],
        **_as_elsewhere("baseline", baseline),
        **_as_elsewhere("candidate", candidate),
        "ancestor": ancestor,
        "macs_rule": MACS_RULE,
        "caution": " ".join(cautions([(baseline.run, rows[:1])])) or None,
    }


def _cut(candidate: Row | None) -> dict[str, Value] | None:
    if candidate is None or candidate.pruner is None:
        return None
    record = to_record(candidate)
    return {name: record[name] for name in _CUT}


def _network(row: Row) -> dict[str, Any]:
    metrics = {name: value for name, value in to_record(row).items() if name not in _NOT_METRICS}
    usual = _scores(row)
    network = {name: getattr(row, name) for name in ("stage", "fingerprint", "transforms", "training")}
    return {**network, **usual, "metrics": metrics}


def _scores(row: Row) -> dict[str, float | None]:
    return {name: _fraction(row[metric]) for name, metric in _USUAL.items()}


def _as_elsewhere(role: str, row: Row | None) -> dict[str, Any]:
    """Numbers of a network under the names that evaluation scripts of the field give to them."""
    found = {
        "results": row and _scores(row),
        "speed": row and {"latency_ms": row["latency_ms_median"], "fps": row["frames_per_s"]},
        "flops_params": row and {"macs": row["macs"], "params": row["params"]},
    }
    return {f"{role}_{name}": value for name, value in found.items()}


def _gains(candidate: Row | None) -> dict[str, float | None]:
    found = {name: None if candidate is None else candidate[metric] for name, metric in _GAINS.items()}
    kept = None if candidate is None else candidate["channels_kept"]
    return {**found, "channel_prune_ratio": None if kept is None else 1 - kept}


def _changes(baseline: Row, candidate: Row) -> dict[str, float | None]:
    return {
        f"{metric.name.removesuffix('_percent')}_points": _difference(
            baseline[metric.name], candidate[metric.name]
        )
        for metric in declared().values()
        if metric.unit == "%" and not metric.is_relative
    }


def _fraction(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _reconstruction(rows: Sequence[Row]) -> dict[str, Any]:
    by_stage = {row.stage: row for row in rows}
    moments = {
        "before_finetune": by_stage.get("pruned", by_stage.get("pruned_raw")),
        "after_finetune": by_stage.get("finetuned"),
    }
    return {
        moment: None if row is None else {name: row[name] for name in _OUTPUTS}
        for moment, row in moments.items()
    }


def _of_class(name: str, values: Mapping[str, float]) -> dict[str, float | None]:
    """Role -> fraction, as percent; and the change if there are two."""
    percent = {role: None if math.isnan(value) else 100 * value for role, value in values.items()}
    found = {f"{role}_{name}_percent": value for role, value in percent.items()}
    if "candidate" in percent:
        found[f"{name}_change_points"] = _difference(percent["baseline"], percent["candidate"])
    return found
