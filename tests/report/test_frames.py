import math
from pathlib import Path

import pytest

from segprune.report import frames
from tests.report.sweeps import CLASSES, cell, store, sweep

SETTING = "streets, unet"


def test_retention_is_in_percent_and_has_both_stages() -> None:
    data = sweep(
        [cell(0, "l1", 40.0), cell(1, "l2", 45.0, budget="macs"), cell(2, "l2", 45.0, setting="other")]
    )
    found = frames.retention(data, SETTING, "channels")
    assert found[["method", "stage", "removed_percent", "kept_percent"]].to_numpy().tolist() == [
        ["l1", "pruned", 30.0, 20.0],
        ["l1", "finetuned", 30.0, 80.0],
    ]


def test_costs_are_means_over_seeds_with_the_dense_network_once() -> None:
    cells = [
        cell(0, "l1", 40.0, seed=0, macs=2_000_000_000, params=1_000_000),
        cell(1, "l1", 44.0, seed=1, macs=4_000_000_000, params=3_000_000),
        cell(2, "l2", 45.0, seed=0),
    ]
    found = frames.costs(sweep(cells), SETTING).set_index("method")
    assert sorted(found.index) == ["dense", "l1", "l2"]
    line = found.loc["l1"]
    assert (line["seeds"], line["miou_percent"], line["gmacs"], line["mparams"]) == (2, 42.0, 3.0, 2.0)
    assert line["latency_ms"] == 12.5
    assert (found.loc["dense", "seeds"], found.loc["dense", "miou_percent"]) == (2, 50.0)
    assert math.isnan(found.loc["dense", "latency_ms"])  # it was not timed


def test_layers_and_scores_of_a_job(tmp_path: Path) -> None:
    job = cell(0, "l1", 40.0, root=tmp_path, names=store(tmp_path, "ab12", [1]))
    layers, scores = frames.layers(job), frames.scores(job)
    assert layers is not None
    assert layers.to_numpy().tolist() == [["a", 4, 3, 1], ["b", 2, 2, 0]]
    assert scores is not None
    assert scores.loc[~scores["is_kept"]].to_numpy().tolist() == [["a", 1, 0.5, False]]
    assert scores["is_kept"].sum() == 5


def test_a_job_without_plan_has_neither_layers_nor_scores() -> None:
    assert frames.layers(cell(0, "l1", 40.0)) is None
    assert frames.scores(cell(0, "l1", 40.0)) is None


def test_a_shared_training_has_one_curve(tmp_path: Path) -> None:
    shared, own = store(tmp_path, "ab12", [1]), store(tmp_path, "cd34", [1])
    first = cell(0, "l1", 40.0, root=tmp_path, names=shared)
    second = cell(1, "l2", 40.0, root=tmp_path, names=[shared[0], *own[1:]])
    found = frames.curves(sweep([first, second]), SETTING)
    ends = found[found["epoch"] == 2]  # epochs count from 1
    assert ends[["stage", "method", "loss", "select_miou_percent"]].to_numpy().tolist() == [
        ["train", "dense", 1.0, 10.0],
        ["finetune", "l1", 1.0, 10.0],
        ["finetune", "l2", 1.0, 10.0],
    ]


def test_class_changes_are_means_over_seeds(tmp_path: Path) -> None:
    first = cell(0, "l1", 40.0, seed=0, root=tmp_path, names=store(tmp_path, "ab12", [1]))
    second = cell(1, "l1", 40.0, seed=1, root=tmp_path, names=store(tmp_path, "cd34", [1]))
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
    data = sweep([cell(0, "l1", 40.0, root=tmp_path, names=names), cell(1, "l2", None)])
    assert frames.class_changes(data, SETTING, "channels").empty
    assert frames.curves(data, SETTING).empty
