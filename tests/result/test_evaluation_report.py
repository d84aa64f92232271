import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from segprune.result.caution import cautions
from segprune.result.evaluation_report import evaluation_report
from segprune.result.row import Row, columns
from tests.rows import CUT, DENSE, changed

TUNED = changed(
    CUT,
    stage="finetuned",
    miou_percent=50.2,
    boundary_iou_percent=None,
    logit_mse=0.5,
    fingerprint="cd34",
    transforms="cut 3 channels",
)


def report(*rows: Row, more: Sequence[str] = (), ancestor: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Of two classes; further scores of them are as their IoU."""
    iou = {"dense": (0.75, math.nan), "pruned": (0.1, math.nan), "finetuned": (0.5, math.nan)}
    made = evaluation_report(
        rows,
        classes=["road", "pole"],
        by_class={
            **dict.fromkeys(("iou", *more), iou),
            "boundary_iou": {"dense": (0.25, 0.0), "pruned": (0.0, 0.0), "finetuned": (0.5, math.nan)},
        },
        layers={"stem": (8, 6), "head": (4, 4)},
        ancestor=ancestor,
    )
    read: dict[str, Any] = json.loads(json.dumps(made, allow_nan=False))
    assert read == made
    return read


def test_every_field_of_the_rows_is_in_the_report_but_those_of_the_run() -> None:
    made = report(changed(DENSE, report_images=7, report_frames=0), CUT, TUNED)
    network = {*made["candidate"]["metrics"], *made["setting"], *made["cut"]}
    network |= {"stage", "fingerprint", "transforms", "training"} & made["candidate"].keys()
    of_the_run = {"run", "accepted", "absent", "schema_version", "report_images"}
    assert network == set(columns()) - of_the_run | {"images"}
    assert made["candidate"]["metrics"]["latency_ms_p95"] == 13.0
    assert (made["baseline"]["stage"], made["candidate"]["stage"]) == ("dense", "finetuned")
    assert (made["baseline"]["fingerprint"], made["candidate"]["fingerprint"]) == ("ab12", "cd34")
    assert (made["baseline"]["transforms"], made["candidate"]["transforms"]) == (None, "cut 3 channels")
    assert (made["setting"]["images"], made["setting"]["report_frames"]) == (7, 0)
    assert made["caution"] == cautions([("own", [changed(DENSE, report_images=7, report_frames=0)])])[0]
    assert report(changed(DENSE, report_images=60, report_frames=0))["caution"] is None
    two = changed(DENSE, report_images=7, report_frames=0, absent="pole")
    absent = f"No label of {DENSE.dataset} {DENSE.split} holds pole: mIoU is the mean over the other classes."
    assert report(two)["caution"] == f"{made['caution']} {absent}"
    assert made["cut"]["ratio_reached"] == 0.2984375


def test_scores_are_also_there_under_the_names_that_scripts_of_the_field_use() -> None:
    made = report(DENSE, CUT, TUNED)
    assert made["candidate"]["mIoU"] == pytest.approx(0.502)
    for name, metric in (("Pixel_Accuracy", "pixel_accuracy"), ("Mean_Accuracy", "mean_accuracy")):
        assert made["baseline"][name] == made["baseline"]["metrics"][f"{metric}_percent"] / 100
    assert made["baseline"]["Frequency_Weighted_IoU"] == DENSE["fw_iou_percent"] / 100
    assert (made["miou_retention"], made["pixel_accuracy_retention"]) == (
        TUNED["miou_retention"],
        TUNED["pixel_accuracy_retention"],
    )
    assert made["speedup_latency"] == made["speedup_fps"] == TUNED["speedup"]
    assert made["channel_prune_ratio"] == pytest.approx(1 - TUNED["channels_kept"])
    assert report(DENSE)["channel_prune_ratio"] is None


def test_changes_are_in_points_and_null_where_one_side_is() -> None:
    change = report(DENSE, CUT, TUNED)["change"]
    assert change["miou_points"] == 50.2 - 54.7
    assert change["boundary_iou_points"] is None
    assert change["small_object_recall_points"] == 0


def test_classes_are_in_percent_with_their_change() -> None:
    road, pole = report(DENSE, CUT, TUNED)["classes"]
    assert road == {
        "class": "road",
        "baseline_iou_percent": 75.0,
        "candidate_iou_percent": 50.0,
        "iou_change_points": -25.0,
        "baseline_boundary_iou_percent": 25.0,
        "candidate_boundary_iou_percent": 50.0,
        "boundary_iou_change_points": 25.0,
    }
    assert (pole["baseline_iou_percent"], pole["iou_change_points"]) == (None, None)
    assert (pole["baseline_boundary_iou_percent"], pole["boundary_iou_change_points"]) == (0.0, None)


def test_reconstruction_is_told_before_and_after_finetuning() -> None:
    found = report(DENSE, CUT, TUNED)["reconstruction"]
    assert found["before_finetune"] == {"logit_mse": 0.25, "argmax_agreement_percent": 87.5}
    assert found["after_finetune"]["logit_mse"] == 0.5
    assert report(DENSE, CUT)["reconstruction"]["after_finetune"] is None


def test_layers_say_their_channels_before_and_after() -> None:
    assert report(DENSE, CUT)["layers"] == [
        {"layer": "stem", "part": None, "channels_before": 8, "channels_after": 6},
        {"layer": "head", "part": None, "channels_before": 4, "channels_after": 4},
    ]


def test_numbers_are_there_under_the_names_of_other_scripts_too() -> None:
    made = report(DENSE, CUT)
    for role in ("baseline", "candidate"):
        network = made[role]
        assert made[f"{role}_results"] == {name: network[name] for name in made[f"{role}_results"]}
        metrics = network["metrics"]
        speed = {"latency_ms": metrics["latency_ms_median"], "fps": metrics["frames_per_s"]}
        assert made[f"{role}_speed"] == speed
        assert made[f"{role}_flops_params"] == {name: metrics[name] for name in ("macs", "params")}
    assert made["candidate_speed"]["fps"] == 80.0
    assert made["candidate_results"]["mIoU"] == 0.547
    assert report(DENSE)["candidate_results"] is None


def test_a_single_network_has_no_candidate() -> None:
    made = report(DENSE)
    assert (made["candidate"], made["change"], made["cut"]) == (None, None, None)
    assert made["classes"][0] == {
        "class": "road",
        "baseline_iou_percent": 75.0,
        "baseline_boundary_iou_percent": 25.0,
    }


def test_a_control_that_was_not_cut_says_so() -> None:
    control = changed(DENSE, stage="finetuned", logit_mse=0.0, argmax_agreement_percent=100.0)
    assert report(DENSE, control)["cut"] is None
