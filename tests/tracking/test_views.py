import json
import logging
import re
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from segprune.result.headline import headline
from segprune.tracking.views import LEADERBOARD, SWEEPS, VERSION_TAG, decode, encode, ensure_views, page
from tests.rows import CUT, DENSE

TAG = "mlflow.sharedViewState."


class Experiment:
    """As much of a client as the views need."""

    def __init__(self):
        self.tags = {}
        self.writes = 0

    def get_experiment(self, experiment_id):
        return SimpleNamespace(tags=dict(self.tags))

    def set_experiment_tag(self, experiment_id, name, value):
        self.writes += 1
        self.tags[name] = value


def test_the_leaderboard_shows_jobs_best_first_with_what_they_cost():
    experiment = Experiment()
    ensure_views(experiment, "1")
    view = decode(experiment.tags[TAG + LEADERBOARD])
    assert view["searchFilter"] == "tags.kind = 'job'"
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`eval/miou`", False)
    assert view["selectedColumns"][:3] == ["params.`pruner.name`", "params.`ratio`", "metrics.`eval/miou`"]
    assert set(view["columnWidths"]) == set(view["selectedColumns"])
    assert TAG + SWEEPS in experiment.tags


def test_every_chart_is_in_a_section_and_has_its_own_id():
    experiment = Experiment()
    ensure_views(experiment, "1")
    view = decode(experiment.tags[TAG + LEADERBOARD])
    sections = {section["uuid"] for section in view["compareRunSections"]}
    charts = view["compareRunCharts"]
    assert {chart["metricSectionId"] for chart in charts} == sections
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    assert {chart["type"] for chart in charts} == {"SCATTER", "PARALLEL", "BAR", "LINE"}


def test_tags_fit_into_the_database():
    assert len(encode(decode_of_largest(), "x")) < 20_000


def decode_of_largest():
    experiment = Experiment()
    ensure_views(experiment, "1")
    return max(
        (decode(tag) for name, tag in experiment.tags.items() if name.startswith(TAG)),
        key=lambda v: len(str(v)),
    )


def test_views_are_written_once_and_what_a_person_changed_stays():
    experiment = Experiment()
    ensure_views(experiment, "1")
    writes = experiment.writes
    experiment.tags[TAG + LEADERBOARD] = "changed"
    experiment.tags["mlflow.note.content"] = "mine"
    ensure_views(experiment, "1")
    assert experiment.writes == writes
    experiment.tags[VERSION_TAG] = "an older version"
    ensure_views(experiment, "1")
    assert experiment.tags[TAG + LEADERBOARD] != "changed"
    assert experiment.tags["mlflow.note.content"] == "mine"


def test_an_unknown_version_of_mlflow_gets_no_views(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(mlflow, "__version__", "4.0.0")
    experiment = Experiment()
    ensure_views(experiment, "1")
    assert experiment.tags == {}
    assert "4.0.0" in caplog.text


@pytest.mark.parametrize("error", [MlflowException("no"), OSError("no")])
def test_a_failure_costs_the_views_and_not_the_run(error, caplog):
    caplog.set_level(logging.DEBUG)
    experiment = Experiment()

    def fail(*arguments):
        raise error

    experiment.set_experiment_tag = fail
    ensure_views(experiment, "1")
    assert "No saved views: no" in caplog.text


def test_a_view_survives_the_packing():
    state = {"a": [1, None, "ü"]}
    assert decode(encode(state, "x")) == state


def test_the_page_opens_on_runs_with_the_view():
    assert page("7", LEADERBOARD).startswith("/#/experiments/7/runs?workflowType=machine_learning&")
    assert page("7", LEADERBOARD).endswith("viewStateShareKey=segprune-leaderboard")


def test_the_views_show_names_that_a_run_has():
    experiment = Experiment()
    ensure_views(experiment, "1")
    pages = (decode(experiment.tags[TAG + view]) for view in (LEADERBOARD, SWEEPS))
    named = set(re.findall(r"eval/\w+", json.dumps(list(pages))))
    assert {"eval/miou", "eval/miou_retention_percent", "eval/speedup"} <= named
    assert named <= set(headline([DENSE, CUT]))
