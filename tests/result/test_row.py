import json
import math
from dataclasses import replace
from typing import Any

import pytest

from segprune.errors import CheckpointError
from segprune.result.metrics import declared
from segprune.result.row import IDENTITY, Row, columns, from_record, to_record
from tests.rows import CUT, DENSE, VERSION_1, changed, version_1

LATER = ("accepted", "absent", "transforms", "gpu", "precision", "training", "timing", "passes", "threshold")
"""Columns that rows of earlier versions lack."""


@pytest.mark.parametrize("row", [DENSE, CUT], ids=["dense", "cut"])
def test_a_row_survives_a_line_of_json_bit_for_bit(row: Row) -> None:
    line = json.dumps(to_record(row))
    assert from_record(json.loads(line)) == row


def test_a_record_is_flat_has_every_column_and_says_its_version() -> None:
    record = to_record(CUT)
    assert record["schema_version"] == 2
    assert tuple(record) == columns() == ("schema_version", *IDENTITY, *declared())
    assert all(value is None or isinstance(value, str | int | float) for value in record.values())


def test_a_whole_number_is_read_where_a_fraction_is_meant() -> None:
    # JSON written by other programs drops ".0"
    value = changed(DENSE, miou_percent=54)["miou_percent"]
    assert (value, type(value)) == (54.0, float)


def test_what_was_not_measured_is_none_or_nan_and_null_and_never_zero() -> None:
    row = changed(DENSE, miou_percent=None)
    assert row["miou_percent"] is None
    assert math.isnan(row.number("miou_percent"))
    assert to_record(row)["miou_percent"] is None
    assert (CUT["macs"], CUT.number("speedup")) == (712_345_678, 1.5)


def test_a_metric_that_nobody_declared_is_no_column_of_a_row() -> None:
    with pytest.raises(KeyError, match="miou_procent"):
        DENSE["miou_procent"]


@pytest.mark.parametrize("version", [0, 3, "2", True, 2.0, None])
def test_a_version_that_is_later_or_none_is_refused(version: Any) -> None:
    with pytest.raises(
        CheckpointError, match=f"schema_version {version!r}, this program reads 1 to 2; read a later"
    ):
        from_record(to_record(DENSE) | {"schema_version": version})


def test_a_row_of_version_1_lacks_what_was_measured_later() -> None:
    row = from_record(version_1(CUT))
    late = set(columns()) - set(VERSION_1) - {"schema_version"}
    assert late >= {"boundary_iou_percent", "logit_mse", "file_size_bytes", "latency_ms_p95"}
    assert row == changed(CUT, **dict.fromkeys(late))
    assert (row["speedup"], row["logit_mse"], row["file_size_bytes"]) == (1.5, None, None)


def without(name: str) -> set[str]:
    """A column and those that say nothing without it."""
    needing = [other.name for other in declared().values() if other.needs == name]
    return {name}.union(*map(without, needing))


@pytest.mark.parametrize("name", [name for name in columns() if name not in (*IDENTITY, "schema_version")])
def test_a_row_without_one_of_the_metrics_is_read(name: str) -> None:
    lacking = without(name)
    found = from_record({key: value for key, value in to_record(CUT).items() if key not in lacking})
    assert found[name] is None
    assert to_record(found) == to_record(CUT) | dict.fromkeys(lacking)


@pytest.mark.parametrize("value", ["int8", 3, 0.5, None])
def test_a_column_that_is_unknown_is_kept(value: Any) -> None:
    row = changed(DENSE, of_tomorrow=value)
    assert to_record(row) == to_record(DENSE) | {"of_tomorrow": value}
    assert from_record(to_record(row)) == row


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"params": 1.5}, r"params: must be a whole number \(got 1.5\)", id="type"),
        pytest.param({"miou_percent": "54"}, r"miou_percent: must be a number \(got '54'\)", id="text"),
        pytest.param({"macs": True}, "macs: must be a whole number", id="bool"),
        pytest.param({"seed": True}, "seed: Input should be a valid integer", id="bool seed"),
        pytest.param({"seed": "1"}, "seed: Input should be a valid integer", id="text seed"),
        pytest.param({"stage": ""}, "stage: String should have at least 1 character", id="word"),
        pytest.param({"scope": "half"}, "scope: Input should be 'local' or 'global'", id="scope"),
        pytest.param({"channels_kept": 1.5}, r"channels_kept: must be from 0 to 1 \(got 1.5\)", id="range"),
        pytest.param({"miou_percent": 101.0}, "miou_percent: must be from 0 to 100 ", id="more than all"),
        pytest.param({"miou_percent": -1.0}, "miou_percent: must be from 0 to 100 ", id="negative"),
        pytest.param({"file_size_bytes": 0}, "file_size_bytes: must be from 1 to inf ", id="zero"),
        pytest.param({"miou_percent": math.nan}, r"miou_percent: must be finite \(got nan\)", id="nan"),
        pytest.param({"logit_mse": math.inf}, "logit_mse: must be finite", id="infinite"),
        pytest.param(
            {"of_tomorrow": math.nan}, "of_tomorrow: must be a text, a finite number", id="unknown nan"
        ),
        pytest.param({"of_tomorrow": [1]}, "of_tomorrow: must be a text, a finite number", id="unknown list"),
        pytest.param(
            {"pruner": "taylor"},
            r"'pruner': 'taylor', 'budget': None.* must be null together",
            id="null rule",
        ),
        pytest.param({"macs": -1, "params": -1}, "params: must be .*; macs: must be ", id="two faults"),
    ],
)
def test_a_record_with_a_wrong_value_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=f"{message}.*run the experiment again"):
        from_record(to_record(DENSE) | changes)


def test_rows_of_before_there_were_transforms_are_read() -> None:
    record = to_record(DENSE)
    del record["transforms"]
    assert from_record(record).transforms is None


@pytest.mark.parametrize("name", [name for name in IDENTITY if name not in LATER])
def test_a_record_that_does_not_say_what_was_evaluated_is_refused(name: str) -> None:
    record = to_record(DENSE)
    del record[name]
    with pytest.raises(CheckpointError, match=rf"{name}: Field required .*run the experiment again"):
        from_record(record)


@pytest.mark.parametrize("field", ["pruner", "budget", "scope"])
def test_what_describes_a_cut_is_there_whole_or_not_at_all(field: str) -> None:
    with pytest.raises(ValueError, match=f"'{field}': None.* must be null together"):
        replace(CUT, **{field: None})
    with pytest.raises(ValueError, match=f"'{field}': {getattr(CUT, field)!r}.* must be null together"):
        replace(DENSE, **{field: getattr(CUT, field)})


def test_a_cut_below_a_threshold_asked_for_no_ratio_but_a_ratio_needs_a_cut() -> None:
    assert replace(CUT, ratio_asked=None).pruner == "taylor"
    with pytest.raises(ValueError, match=r"ratio_asked is 0\.3 without a pruner"):
        replace(DENSE, ratio_asked=0.3)
    assert replace(CUT, ratio_asked=None, threshold=0.01).threshold == 0.01
    for row in (CUT, DENSE):  # beside a ratio, and without a pruner
        with pytest.raises(ValueError, match=r"threshold is 0\.01 without a pruner, or beside a ratio_asked"):
            replace(row, threshold=0.01)


@pytest.mark.parametrize("stage", ["finetuned", "prepared", "quantised"])
def test_a_network_that_was_trained_and_not_cut_has_no_ratio(stage: str) -> None:
    row = changed(DENSE, stage=stage, logit_mse=0.1, argmax_agreement_percent=99.0)
    assert from_record(to_record(row)) == row


@pytest.mark.parametrize(
    "metric", [one for one in declared().values() if one.needs], ids=lambda one: one.name
)
def test_what_says_nothing_without_another_value_is_refused_without_it(metric: Any) -> None:
    cut = {} if metric.needs != "pruner" else dict.fromkeys(["budget", "scope", "ratio_asked"])
    alone = {**dict.fromkeys(without(metric.needs)), metric.name: CUT[metric.name], **cut}
    with pytest.raises(
        CheckpointError, match=rf"{metric.name} is {CUT[metric.name]} where {metric.needs} is None"
    ):
        changed(CUT, **alone)


def test_there_is_no_recall_of_nothing() -> None:
    assert changed(CUT, small_objects=0, small_object_recall_percent=None)["small_objects"] == 0
    with pytest.raises(
        CheckpointError, match=r"small_object_recall_percent is 62\.5 where small_objects is 0"
    ):
        changed(CUT, small_objects=0)
