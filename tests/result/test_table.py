import math
from dataclasses import replace

import pytest
import torch

from segprune.measure.miou import segmentation_metrics
from segprune.result.table import chain_table, per_class_table, scores_table
from tests.report.test_table import DENSE, PRUNED, TUNED, words
from tests.rows import changed


def test_chain_table_has_one_line_per_evaluation_with_the_numbers_in_their_units() -> None:
    measured, cut, _, dense, pruned, tuned = words(chain_table([DENSE, PRUNED, TUNED]))
    assert dense == ["dense", "54.72", "86.25", "1.500", "2.000", "25.0", "(1.2)", "x1.00"]
    assert pruned == ["pruned", "11.00", "86.25", "0.600", "1.000", "-", "-"]
    assert tuned == ["finetuned", "49.00", "86.25", "0.600", "1.000", "12.5", "(0.5)", "x1.96"]
    assert " ".join(measured) == (
        "data streets val | image 96x128 px | classes 11 | model unet | seed 0 | device cpu"
    )
    assert " ".join(cut) == "pruner taylor (global) | removed 0.300 of channels asked | reached 0.298"


def test_a_threshold_is_named_where_it_decided() -> None:
    _, cut, *_ = chain_table([DENSE, changed(PRUNED, ratio_asked=None, threshold=0.01)]).splitlines()
    assert cut == "pruner taylor (global) | removed scores below budget.threshold=0.01 | reached 0.298"


def test_a_gpu_is_named_with_how_it_multiplies() -> None:
    row = changed(DENSE, device="cuda:0", gpu="A100", precision="tf32")
    assert "| device cuda:0 A100 tf32" in chain_table([row])


def test_a_chain_without_a_cut_has_no_line_on_it() -> None:
    assert len(chain_table([DENSE]).splitlines()) == 3
    assert "pruner" not in chain_table([DENSE])


def test_few_images_are_told_below_the_table() -> None:
    *_, last = chain_table([changed(DENSE, report_images=7), PRUNED]).splitlines()
    assert last.startswith("7 report images of streets val: fewer than 60")


def test_table_of_classes_is_in_percent_with_the_change_in_points() -> None:
    table = per_class_table(["road", "pole"], {"dense": (0.5, math.nan), "pruned": (0.25, math.nan)})
    assert list(table.columns) == ["dense", "pruned", "pruned change"]
    assert table.loc["road"].tolist() == [50.0, 25.0, -25.0]
    assert table.loc["pole"].isna().all()


def test_table_of_classes_needs_one_value_per_class() -> None:
    with pytest.raises(ValueError, match="Length of values"):
        per_class_table(["road", "pole"], {"dense": (0.5,)})


def test_a_control_that_was_not_cut_and_a_cut_start_have_their_tables() -> None:
    control = replace(DENSE, stage="finetuned")
    assert "pruner" not in chain_table([DENSE, control])
    start = replace(DENSE, stage="start")
    assert f"{start['miou_percent']:.2f}" in chain_table([start])


def test_every_runtime_that_was_timed_has_its_columns() -> None:
    fast = changed(DENSE, latency_onnxruntime_ms=8.04, speedup_onnxruntime=1.0, timing="wall time, batch 1")
    title, dense, pruned = words(chain_table([fast, PRUNED]))[2:5]
    assert title[-3:] == ["onnxruntime", "ms", "speed-up"]
    assert dense[-2:] == ["8.0", "x1.00"]
    assert pruned[-2:] == ["-", "-"]
    assert "\ntimes: wall time, batch 1" in chain_table([fast, PRUNED])
    assert "openvino" not in chain_table([fast, PRUNED])


def test_scores_of_each_network_and_class_are_in_percent_and_empty_where_not_defined() -> None:
    found = segmentation_metrics(torch.tensor([[3, 1, 0], [1, 4, 0], [0, 0, 0]]))
    table = scores_table(["road", "pole", "bike"], {"dense": found, "pruned": found})
    assert list(table) == [
        "stage",
        "class",
        *(f"{s}_percent" for s in ("iou", "dice", "precision", "recall")),
    ]
    assert table.iloc[4].tolist() == pytest.approx(["pruned", "pole", 400 / 6, 80.0, 80.0, 80.0])
    assert table.iloc[2, 2:].isna().all()
