import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from segprune.report.html import html
from segprune.report.summary import summary
from segprune.report.table import write_csv
from segprune.report.verdict import contests
from segprune.result import metrics
from segprune.result.contract import Metric
from segprune.result.evaluation_report import evaluation_report
from segprune.result.headline import headline
from segprune.result.metrics import declared, documentation
from segprune.result.row import columns, to_record
from tests.report.sweeps import job_data, sweep
from tests.rows import CUT, DENSE, changed
from tests.stage.test_rows import FACTS, FIRST, rows, state

TOY = Metric(
    name="aligned_percent",
    unit="%",
    better="higher",
    about="Layers whose channels are a multiple of 8",
    get=lambda net, _: 100 * sum(left % 8 == 0 for left in net.channels.values()) / len(net.channels),
    most=100,
)
NEVER = replace(
    TOY, name="energy_j", unit="J", about="Energy of an image", get=lambda net, dense: None, most=9
)


def reported(*found):  # type: ignore[no-untyped-def]
    return evaluation_report(found, classes=[], by_class={}, layers={})


def test_one_declaration_is_all_that_a_metric_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, TOY, NEVER))
    found = tuple(rows(tmp_path, (state("dense"), state("pruned", FIRST))).values())
    # the tiny network has layers of 6 and 4 channels, so none is a multiple of 8
    assert [row["aligned_percent"] for row in found] == [0.0, 0.0]
    assert [row["energy_j"] for row in found] == [None, None]
    assert columns()[-2:] == ("aligned_percent", "energy_j")
    assert (to_record(found[-1])["aligned_percent"], to_record(found[-1])["energy_j"]) == (0.0, None)
    report = reported(*found)
    assert report["candidate"]["metrics"]["aligned_percent"] == report["change"]["aligned_points"] == 0.0
    assert report["candidate"]["metrics"]["energy_j"] is None
    write_csv(found, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        line = list(csv.DictReader(file))[-1]
    assert (line["aligned_percent"], line["energy_j"]) == ("0.0", "")
    assert headline(found)["eval/aligned_percent"] == 0.0
    assert "eval/energy_j" not in headline(found)
    assert "| `aligned_percent` | % | higher | `aligned_percent` | Layers whose channels" in documentation()


def test_a_sweep_tells_a_new_metric_of_every_job_and_standing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, TOY, NEVER))
    data = sweep(
        [job_data(0, "l1", 40.0, aligned_percent=25.0), job_data(1, "l2", 41.0, aligned_percent=75.0)]
    )
    found = summary(data, contests(data))
    assert [job["aligned_percent"] for job in found["results"]] == [25.0, 75.0]
    page = html(data, contests(data), [])
    assert "<td>aligned_percent</td><td>higher</td><td>-</td><td>75</td><td>25</td>" in page
    assert "energy_j" not in page
    standings = found["contests"][0]["standings"]
    assert {one["method"]: one["aligned_percent"] for one in standings} == {"l1": 25.0, "l2": 75.0}
    assert {one["energy_j"] for one in standings} == {None}


def test_names_say_their_units_and_stand_for_one_thing() -> None:
    units = {"%": "_percent", "ms": "_ms", "bytes": "_bytes", "1/s": "_per_s"}
    for metric in declared().values():
        said = units.get(metric.unit, "")
        assert said in metric.name, metric
        # a bare name is a count, a fraction or a factor, so nothing else is in percent
        assert metric.name.endswith("_percent") == (metric.unit == "%"), metric
    shown = [name for one in declared().values() for name in (one.shown_name, *one.aliases)]
    assert len(declared()) == len(metrics.METRICS)
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("metric", declared().values(), ids=lambda metric: metric.name)
def test_a_declaration_is_complete(metric: Metric) -> None:
    assert metric.about
    assert not metric.about.endswith(".")
    assert metric.needs in ("", *columns())
    if metric.unit != "fraction" and metric.shown_as is None:
        assert metric.shown_name == metric.name
    value = CUT[metric.name]
    assert value is not None
    assert metric.fault(value) == ""


def test_what_is_shown_says_its_unit() -> None:
    kept, macs = declared()["macs_kept"], declared()["macs"]
    assert (kept.shown_name, kept.shown(0.123456789)) == ("macs_kept_percent", 12.346)
    assert (macs.shown_name, macs.shown(1_234_567_890)) == ("gmacs", 1.2346)
    assert declared()["channels"].shown(123_456) == 123_456


def test_what_was_removed_is_told_of_every_unit_that_a_metric_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = (state("dense"), state("pruned", FIRST))
    found = {
        unit: rows(tmp_path, trail, replace(FACTS, budget=unit))["pruned"]["ratio_reached"]
        for unit in ("macs", "params", "channels", "latency", "latency_ms_median", "logit_mse")
    }
    assert found == {
        "macs": pytest.approx(0.6),
        "params": pytest.approx(0.6),
        "channels": pytest.approx(0.3),
        "latency": None,
        "latency_ms_median": pytest.approx(0.5),  # 8 ms and 4 ms
        "logit_mse": None,  # the dense network has none
    }
    kept = replace(TOY, name="latency_kept", unit="fraction", get=lambda net, dense: 1 / net.speedup(dense))
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, kept))
    timed = rows(tmp_path, trail, replace(FACTS, budget="latency"))["pruned"]
    assert timed["ratio_reached"] == pytest.approx(0.5)  # 8 ms of the dense network, 4 ms of this one


def test_time_that_was_removed_is_told_by_the_paired_ratio(tmp_path: Path) -> None:
    trail = (state("dense"), state("pruned", FIRST))

    def removed(unit: str) -> float | None:
        return rows(tmp_path, trail, replace(FACTS, budget=unit))["pruned"]["ratio_reached"]

    assert removed("latency_eager") == pytest.approx(0.5)  # 8 ms of the dense network, 4 ms of this one
    assert removed("latency_onnxruntime") is None  # not timed there


def test_a_change_is_told_of_percent_alone_and_of_nothing_that_compares_already() -> None:
    change = reported(DENSE, changed(CUT, stage="finetuned"))["change"]
    assert set(change) == {
        *("miou_points", "pixel_accuracy_points", "mean_accuracy_points", "fw_iou_points"),
        "dice_points",
        *("boundary_iou_points", "small_object_recall_points"),
        *("layers_aligned_4_points", "layers_aligned_8_points"),
    }


def test_who_reads_rows_need_not_wait_for_torch() -> None:
    program = "import sys, segprune.result.row; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
