import time

import pytest

from segprune.errors import TrackingError
from segprune.tracking.record import (
    checked_name,
    clipped,
    metric_records,
    param_records,
    portions,
    spell,
    tag_records,
)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (0.3, "0.3"), (7, "7"), ("a", "a")]
)
def test_values_are_spelled_as_in_yaml(value, text):
    assert spell(value) == text


@pytest.mark.parametrize("name", ["eval/miou", "pruner.name", "a-b_c d:e", "mlflow.note.content"])
def test_names_of_the_schema_are_taken(name):
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["iou_%", "", "a//b", "/a", "../a", ".", "a/", "é\n", "x" * 251])
def test_names_that_the_store_would_refuse_are_refused(name):
    with pytest.raises(TrackingError, match="cannot name a param, metric or tag; use letters"):
        checked_name(name)


def test_the_refusal_quotes_the_name_and_tells_the_way_out():
    with pytest.raises(TrackingError, match=r"'iou_%' cannot name .*_percent"):
        param_records({"iou_%": 1})


def test_long_values_are_cut_to_the_limit_and_marked():
    assert clipped("x" * 10, 10) == "x" * 10
    assert clipped("x" * 11, 10) == "x" * 7 + "..."
    (record,) = param_records({"a": "x" * 9000})
    assert len(record.content["a"]) == 6000
    (record,) = tag_records({"a": "x" * 9000})
    assert len(record.content["a"]) == 8000


def test_requests_stay_within_the_limits_of_the_store_and_keep_the_order():
    params = param_records({f"p{i}": i for i in range(250)})
    assert [len(record.content) for record in params] == [100, 100, 50]
    metrics = metric_records({f"m{i}": i for i in range(2001)}, 7)
    assert [len(record.content["points"]) for record in metrics] == [1000, 1000, 1]
    points = [point for record in metrics for point in record.content["points"]]
    assert [(name, value, step) for name, value, _, step in points] == [
        (f"m{i}", float(i), 7) for i in range(2001)
    ]


def test_metrics_have_the_time_at_which_they_were_logged():
    before = int(time.time() * 1000)
    (record,) = metric_records({"a": 1.0}, 0)
    ((_, _, now_ms, _),) = record.content["points"]
    assert before <= now_ms <= time.time() * 1000


def test_a_metric_with_a_bad_name_is_refused():
    with pytest.raises(TrackingError, match="'iou_%' cannot name"):
        metric_records({"iou_%": 1.0}, 0)


def test_nothing_makes_no_record():
    assert param_records({}) == tag_records({}) == metric_records({}, 0) == list(portions([], 5)) == []


def test_passwords_are_taken_out_before_a_cut_could_hide_where_they_end():
    url = "http://me:secret@host"
    (param,) = param_records({"a": "x" * 5990 + url})  # cut inside the password if it were still there
    (tag,) = tag_records({"a": "x" * 7990 + url, "b": url})
    assert param.content["a"] == "x" * 5990 + "http://..."  # 6000 characters
    assert tag.content == {"a": "x" * 7990 + "http://...", "b": "http://***@host"}
