import math
from dataclasses import replace
from pathlib import Path

import pytest

from segprune.report import frames
from segprune.report.collect import SweepData
from tests.report.sweeps import CLASSES, job_data, store, sweep
from tests.rows import changed

SETTING = "streets, unet"


def test_retention_is_in_percent_and_has_both_stages() -> None:
    data = sweep(
        [
            job_data(0, "l1", 40.0),
            job_data(1, "l2", 45.0, budget="macs"),
            job_data(2, "l2", 45.0, setting="other"),
        ]
    )
    found = frames.retention(data, SETTING, "channels")
    assert found[["method", "stage", "ratio_reached_percent", "kept_percent"]].to_numpy().tolist() == [
        ["l1", "pruned", 30.0, 20.0],
        ["l1", "finetuned", 30.0, 80.0],
    ]


def test_costs_are_means_over_seeds_with_the_dense_network_once() -> None:
    jobs = [
        job_data(0, "l1", 40.0, seed=0, macs=2_000_000_000, params=1_000_000),
        job_data(1, "l1", 44.0, seed=1, macs=4_000_000_000, params=3_000_000),
        job_data(2, "l2", 45.0, seed=0),
    ]
    found = frames.costs(sweep(jobs), SETTING).set_index("method")
    assert sorted(found.index) == ["dense", "l1", "l2"]
    line = found.loc["l1"]
    assert (line["seeds"], line["miou_percent"], line["gmacs"], line["mparams"]) == (2, 42.0, 3.0, 2.0)
    assert line["latency_ms"] == 12.5
    assert (found.loc["dense", "seeds"], found.loc["dense", "miou_percent"]) == (2, 50.0)
    assert line["latency_percent"] == pytest.approx(100 / 1.5)
    assert math.isnan(found.loc["dense", "latency_ms"])  # it was not timed
    assert math.isnan(found.loc["dense", "latency_percent"])


def test_details_are_kept_as_parts_of_what_the_dense_network_had() -> None:
    changes = {"boundary_iou_percent": 25.2, "small_object_recall_percent": 50.0}
    data = sweep(
        [job_data(0, "l1", 40.0, **changes), job_data(1, "l2", 45.0, budget="macs"), job_data(2, "fgp", None)]
    )
    found = frames.details(data, SETTING, "channels").set_index("measure")
    # the dense network has 50, 31.5 and 62.5 %
    assert found["kept_percent"].to_dict() == pytest.approx(
        {"mIoU": 80.0, "boundary IoU": 80.0, "small-object recall": 80.0}
    )
    assert found["dense_percent"].tolist() == [50.0, 31.5, 62.5]
    assert set(found["method"]) == {"l1"}
    assert set(found["ratio_reached_percent"]) == {30.0}


def test_of_no_small_objects_nothing_is_kept() -> None:
    job = job_data(0, "l1", 40.0)
    none = {"small_objects": 0, "small_object_recall_percent": None}
    job = replace(
        job, outcome=replace(job.outcome, rows=tuple(changed(row, **none) for row in job.outcome.rows))
    )
    found = frames.details(sweep([job]), SETTING, "channels").set_index("measure")
    assert math.isnan(found.loc["small-object recall", "kept_percent"])
    assert found.loc["boundary IoU", "kept_percent"] == 100.0


def test_speeds_are_means_over_seeds_of_what_was_timed() -> None:
    jobs = [
        job_data(0, "l1", 40.0, seed=0, macs_kept=0.5, speedup=1.2, realisation_efficiency=0.6),
        job_data(1, "l1", 44.0, seed=1, macs_kept=0.4, speedup=1.6, realisation_efficiency=0.64),
        job_data(2, "l2", 45.0, speedup=None, realisation_efficiency=None),
        job_data(3, "l2", 45.0, setting="other"),
    ]
    (line,) = frames.speeds(sweep(jobs), SETTING).to_dict("records")
    assert (line["method"], line["option"], line["ratio_asked"], line["seeds"]) == ("l1", "channels", 0.3, 2)
    # 1/0.5 and 1/0.4; the sd of 1.2 and 1.6 is 0.4 / sqrt(2)
    assert (line["macs_speedup"], line["speedup"]) == (pytest.approx(2.25), pytest.approx(1.4))
    assert line["speedup_sd"] == pytest.approx(0.4 / 2**0.5)
    assert line["realisation_efficiency"] == pytest.approx(0.62)


def test_layers_and_scores_of_a_job(tmp_path: Path) -> None:
    job = job_data(0, "l1", 40.0, root=tmp_path, names=store(tmp_path, "ab12", [1]))
    layers, scores = frames.layers(job), frames.scores(job)
    assert layers is not None
    assert layers.to_numpy().tolist() == [["a", None, 4, 3, 1], ["b", None, 2, 2, 0]]
    assert scores is not None
    assert scores.loc[~scores["is_kept"]].to_numpy().tolist() == [["a", 1, 0.5, False]]
    assert scores["is_kept"].sum() == 5


def test_a_job_without_plan_has_neither_layers_nor_scores() -> None:
    assert frames.layers(job_data(0, "l1", 40.0)) is None
    assert frames.scores(job_data(0, "l1", 40.0)) is None


def test_a_shared_training_has_one_curve(tmp_path: Path) -> None:
    shared, own = store(tmp_path, "ab12", [1]), store(tmp_path, "cd34", [1])
    first = job_data(0, "l1", 40.0, root=tmp_path, names=shared)
    second = job_data(1, "l2", 40.0, root=tmp_path, names=[shared[0], *own[1:]])
    found = frames.curves(sweep([first, second]), SETTING)
    ends = found[found["epoch"] == 2]  # epochs count from 1
    assert ends[["stage", "method", "loss", "select_miou_percent"]].to_numpy().tolist() == [
        ["train", "dense", 1.0, 10.0],
        ["finetune", "l1", 1.0, 10.0],
        ["finetune", "l2", 1.0, 10.0],
    ]


def test_class_changes_are_means_over_seeds(tmp_path: Path) -> None:
    first = job_data(0, "l1", 40.0, seed=0, root=tmp_path, names=store(tmp_path, "ab12", [1]))
    second = job_data(1, "l1", 40.0, seed=1, root=tmp_path, names=store(tmp_path, "cd34", [1]))
    table = tmp_path / "eval" / "cd34" / "per_class.csv"
    table.write_text(table.read_text().replace("road,50,20,40", "road,50,20,44"))
    found = frames.class_changes(sweep([first, second]), SETTING, "channels").set_index("class")
    assert list(found.index) == list(CLASSES)
    # road 40 - 50 and 44 - 50; sky 66 - 60 twice; pole does not occur
    assert found["change_points"].tolist()[:2] == [-8.0, 6.0]
    assert math.isnan(found.loc["pole", "change_points"])
    assert found.loc["road", ["seeds", "dense_iou_percent", "iou_percent"]].tolist() == [2, 50.0, 42.0]


@pytest.mark.parametrize("names", [[], ["eval/gone"]])
def test_without_tables_of_classes_there_are_no_changes(tmp_path: Path, names: list[str]) -> None:
    data = sweep([job_data(0, "l1", 40.0, root=tmp_path, names=names), job_data(1, "l2", None)])
    assert frames.class_changes(data, SETTING, "channels").empty
    assert frames.curves(data, SETTING).empty


def taught(root: Path) -> SweepData:
    """One method without a teacher, whose road has 40 % IoU, and with one, whose road has 44 %."""
    jobs = [
        job_data(
            n,
            "l1",
            40.0,
            distill=distill,
            setting=f"{SETTING}; distill={distill}",
            root=root,
            names=store(root, distill, [1]),
        )
        for n, distill in enumerate(("none", "kd"))
    ]
    table = root / "eval" / "kd" / "per_class.csv"
    table.write_text(table.read_text().replace("road,50,20,40", "road,50,20,44"))
    return sweep(jobs)


def test_the_gain_of_a_class_is_with_a_teacher_minus_without(tmp_path: Path) -> None:
    found = frames.taught_classes(taught(tmp_path), SETTING, "channels").set_index("class")
    assert list(found.index) == list(CLASSES)
    assert set(found["method"]) == {"l1 kd"}
    assert found["change_points"].tolist()[:2] == [4.0, 0.0]
    assert math.isnan(found.loc["pole", "change_points"])


def test_curves_with_and_without_a_teacher_are_finetunings_of_one_setting(tmp_path: Path) -> None:
    found = frames.taught_curves(taught(tmp_path), SETTING)
    assert list(dict.fromkeys(zip(found["method"], found["teaching"], strict=True))) == [
        ("l1", "none"),
        ("l1", "kd"),
    ]
    assert set(found["stage"]) == {"finetune"}


def test_without_a_job_without_a_teacher_no_class_gains(tmp_path: Path) -> None:
    alone = sweep(taught(tmp_path).jobs[1:])
    assert frames.taught_classes(alone, SETTING, "channels").empty
