"""Saved views of an experiment, so that MLflow's runs page shows the comparison at first sight.

The format is MLflow's own and not documented: a view is an experiment tag whose JSON holds the page's state,
deflated. It is written for MLflow 3 only, and a failure costs the views, never a run.
"""

import base64
import hashlib
import json
import logging
import time
import uuid
import zlib
from typing import Any

from segprune.tracking.failure import failures
from segprune.tracking.record import NOTE_TAG

LOG = logging.getLogger(__name__)

WORKFLOW = "workflowType=machine_learning"  # without it a first visit shows the menus for language models
LEADERBOARD = "segprune-leaderboard"
SWEEPS = "segprune-sweeps"
# The hash of the views last written; a view that a person changed since then is left as it is.
VERSION_TAG = "segprune.views"
NOTE = (
    "Compare pruning methods: **Views > Leaderboard** (table and charts), **Views > Sweeps** (nested runs)."
)

_SECTIONS = ("Trade-off", "Results", "Fine-tuning", "Training")
# Column and width in px: MLflow's own widths cut these headers short, its own order hides pruner and ratio.
_COLUMNS = {
    "params.`pruner.name`": 110,
    "params.`ratio`": 70,
    "metrics.`eval/miou`": 95,
    "metrics.`eval/miou_retention_percent`": 150,
    "metrics.`eval/macs_kept_percent`": 125,
    "metrics.`eval/params_kept_percent`": 140,
    "metrics.`eval/latency_ms`": 135,
    "metrics.`eval/speedup`": 115,
}
_SWEEP_COLUMNS = {"metrics.`sweep/jobs`": 110, "metrics.`sweep/failed`": 115}


def ensure_views(client: Any, experiment_id: str) -> None:
    """Write the views into the experiment unless this version of them is already there."""
    import mlflow

    if not mlflow.__version__.startswith("3."):
        LOG.debug("No saved views for MLflow %s: their format is known for 3.x only.", mlflow.__version__)
        return
    views = {LEADERBOARD: ("Leaderboard", _leaderboard()), SWEEPS: ("Sweeps (nested)", _sweeps())}
    version = hashlib.sha256(json.dumps(views, sort_keys=True).encode()).hexdigest()[:16]
    try:
        tags = client.get_experiment(experiment_id).tags
        if tags.get(VERSION_TAG) == version:
            return
        for key, (name, state) in views.items():
            client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{key}", encode(state, name))
        if NOTE_TAG not in tags:
            client.set_experiment_tag(experiment_id, NOTE_TAG, NOTE)
        client.set_experiment_tag(experiment_id, VERSION_TAG, version)
    except failures() as error:
        LOG.debug("No saved views: %s", error)


def page(experiment_id: str, view: str) -> str:
    """Path of a view, below the server's address."""
    return f"/#/experiments/{experiment_id}/runs?{WORKFLOW}&viewStateShareKey={view}"


def encode(state: dict[str, Any], name: str) -> str:
    """A page state as MLflow stores a saved view."""
    now_ms = int(time.time() * 1000)
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": now_ms, "updatedAt": now_ms, "state": f"deflate;{packed}"})


def decode(tag: str) -> dict[str, Any]:
    """The page state behind a saved view."""
    packed = json.loads(tag)["state"].removeprefix("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def _leaderboard() -> dict[str, Any]:
    """All jobs, best mIoU first. Sorting by a metric unfolds the sweeps, so that charts see every job."""
    return _page("tags.kind = 'job'", "metrics.`eval/miou`", _COLUMNS)


def _sweeps() -> dict[str, Any]:
    """Sweeps with their jobs below them, the newest first."""
    return _page("", "attributes.start_time", _SWEEP_COLUMNS | _COLUMNS)


def _page(search_filter: str, order_by: str, columns: dict[str, int]) -> dict[str, Any]:
    return {
        "searchFilter": search_filter,
        "orderByKey": order_by,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": columns,
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunCharts": _charts(),
        "compareRunSections": [_section(name) for name in _SECTIONS],
    }


def _charts() -> list[dict[str, Any]]:
    miou, macs, latency = (
        {"key": f"eval/{name}", "type": "METRIC"} for name in ("miou", "macs_kept_percent", "latency_ms")
    )
    ratio = {"key": "ratio", "type": "PARAM"}
    bars = ("eval/miou", "eval/miou_retention_percent", "eval/speedup")
    return [
        *(_scatter(x, miou) for x in (macs, ratio, latency)),
        _card(
            "PARALLEL", "Trade-off", "cost and quality", showAllRuns=False,
            selectedParams=["pruner.name", "ratio"], selectedMetrics=["eval/macs_kept_percent", "eval/miou"],
        ),
        *(_card("BAR", "Results", key, metricKey=key) for key in bars),
        *(_line("Fine-tuning", f"finetune/{name}") for name in ("val_miou", "loss", "lr")),
        *(_line("Training", f"train/{name}") for name in ("val_miou", "loss", "lr")),
    ]  # fmt: skip


def _scatter(x: dict[str, str], y: dict[str, str]) -> dict[str, Any]:
    return _card("SCATTER", "Trade-off", x["key"], xaxis=x, yaxis=y)


def _line(section: str, key: str) -> dict[str, Any]:
    return _card(
        "LINE", section, key, metricKey=key, selectedMetricKeys=[key], xAxisKey="step",
        xAxisScaleType="linear", scaleType="linear", lineSmoothness=0, selectedXAxisMetricKey="",
        useGlobalLineSmoothing=True, useGlobalXaxisKey=True,
        range={"xMin": None, "xMax": None, "yMin": None, "yMax": None},
    )  # fmt: skip


def _card(kind: str, section: str, subject: str, **options: Any) -> dict[str, Any]:
    return {
        "uuid": _id(f"{kind}/{subject}"), "type": kind, "runsCountToCompare": 20,
        "metricSectionId": _id(section), "deleted": False, "isGenerated": False, **options,
    }  # fmt: skip


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": _id(name), "name": name, "display": True, "isReordered": True, "deleted": False,
        "isGenerated": False,
    }  # fmt: skip


def _id(name: str) -> str:
    """The same id in every run, so that unchanged views hash to the same version."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"segprune/{name}").hex[:20]
