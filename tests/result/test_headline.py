from dataclasses import replace

from segprune.result.headline import headline
from tests.result.test_row import CUT, DENSE


def test_the_last_network_is_shown_in_percent_and_in_units_with_the_cut_and_the_baseline_beside_it() -> None:
    raw = replace(CUT, stage="pruned_raw", miou_percent=5.0)
    tuned = replace(
        CUT, stage="finetuned", miou_percent=50.128, logit_mse=0.000123456, miou_retention=0.91643
    )
    shown = headline([DENSE, raw, replace(CUT, miou_percent=20.0), tuned])
    assert shown["eval/miou"] == 50.13
    assert shown["eval/miou_retention"] == 91.64
    assert (shown["baseline/miou"], shown["prune/miou_raw"], shown["prune/miou"]) == (54.7, 5.0, 20.0)
    assert (shown["eval/boundary_iou"], shown["eval/small_object_recall"]) == (31.5, 62.5)
    assert (shown["eval/logit_mse"], shown["prune/logit_mse"]) == (0.0001235, 0.25)  # four digits
    assert (shown["eval/latency_ms"], shown["eval/latency_ms_p95"]) == (12.5, 13.0)
    assert shown["eval/latency_ms_iqr"] == 0.5
    assert (shown["eval/frames_per_s"], shown["eval/mpixels_per_s"]) == (80.0, 0.98)
    assert (shown["eval/file_size_mb"], shown["eval/peak_memory_mb"]) == (1.9512, 4.5)
    assert (shown["eval/speedup"], shown["eval/realisation_efficiency"]) == (1.5, 0.9)
    assert (shown["eval/gmacs"], shown["eval/mparams"]) == (0.7123, 0.485)


def test_what_was_not_measured_is_left_out() -> None:
    shown = headline([replace(DENSE, miou_retention=None)])
    missing = {"eval/latency_ms", "eval/logit_mse", "eval/miou_retention", "prune/miou", "prune/logit_mse"}
    assert not missing & set(shown)
    assert shown["eval/miou"] == shown["baseline/miou"] == 54.7
