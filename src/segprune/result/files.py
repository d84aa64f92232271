"""What the files of a finished result are called, for those that write them and for those that read them.

Those of a checkpoint are in ``checkpoint.contract``.
"""

from collections.abc import Mapping
from typing import Any

CURVE = "curve.json"
"""Of a training: one object per epoch."""
SCORES = "scores.safetensors"
"""Of a criterion: layer -> (C,) scores."""
PLAN = "plan.json"
"""Of a cut: what was asked, reached and removed."""
ROWS = "rows.json"
"""Of an evaluation, as all that follow: one record per network."""
REPORT = "evaluation_report.json"
PER_CLASS = "per_class.csv"
CLASS_SCORES = "class_scores.csv"
CONFUSION, CONFUSION_FIGURE = "confusion.csv", "confusion.png"
IMAGE_COUNTS = "image_counts.safetensors"
"""Stage -> (N, K, K) confusion counts of each image."""
PREDICTIONS = "predictions.png"
ONNX = "model.onnx"
"""Of an export, as all that follow."""
PT2 = "model.pt2"
INT8 = "model_int8.onnx"
DEPLOYED = "deploy.json"
"""What the files are, take and give, and how nearly they predict what the network does."""


def removed_of(plan: Mapping[str, Any], unit: str) -> float:
    """The fraction of ``channels``, ``macs`` or ``params`` that the plan in ``plan.json`` removes.

    Up to version 0.1.0 it stood there under the name of the unit alone.
    """
    name = f"{unit}_removed"
    return float(plan[name] if name in plan else plan[unit])
