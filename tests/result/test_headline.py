from segprune.result.headline import headline
from segprune.result.metrics import declared
from tests.rows import CUT, DENSE, changed


def test_the_last_network_is_shown_in_units_with_the_cut_and_the_baseline_beside_it() -> None:
    raw = changed(CUT, stage="pruned_raw", miou_percent=5.0)
    tuned = changed(
        CUT, stage="finetuned", miou_percent=50.1284, logit_mse=0.000123456, miou_retention=0.916432
    )
    shown = headline([DENSE, raw, changed(CUT, miou_percent=20.0), tuned])
    assert shown["eval/miou_percent"] == 50.128
    assert shown["eval/miou_retention_percent"] == 91.643
    assert (shown["eval/macs_kept_percent"], shown["eval/ratio_reached_percent"]) == (100.0, 29.844)
    stages = ("baseline/miou_percent", "prune_raw/miou_percent", "prune/miou_percent")
    assert [shown[name] for name in stages] == [54.7, 5.0, 20.0]
    assert (shown["eval/boundary_iou_percent"], shown["eval/small_object_recall_percent"]) == (31.5, 62.5)
    assert (shown["eval/logit_mse"], shown["prune/logit_mse"]) == (0.00012346, 0.25)
    assert (shown["eval/latency_ms_median"], shown["eval/latency_ms_p95"]) == (12.5, 13.0)
    assert (shown["eval/frames_per_s"], shown["eval/mpixels_per_s"]) == (80.0, 0.98304)
    assert (shown["eval/file_size_mb"], shown["eval/peak_memory_mb"]) == (1.9512, 4.5)
    assert (shown["eval/speedup"], shown["eval/realisation_efficiency"]) == (1.5, 0.9)
    assert (shown["eval/gmacs"], shown["eval/mparams"]) == (0.71235, 0.485)
    assert shown["eval/channels"] == 640


def test_saved_views_find_their_names() -> None:
    shown = headline([DENSE, CUT])
    assert shown["eval/miou"] == shown["eval/miou_percent"] == shown["prune/miou"]
    assert shown["baseline/miou"] == 54.7
    assert shown["eval/latency_ms"] == shown["eval/latency_ms_median"]


def test_one_name_has_one_unit_in_rows_and_in_the_tracker() -> None:
    for name, value in headline([DENSE, CUT]).items():
        group, _, word = name.partition("/")
        if group == "eval" and word in declared():
            assert value == float(f"{CUT[word]:.5g}"), name


def test_every_metric_is_shown() -> None:
    shown = headline([DENSE, CUT])
    assert {f"eval/{metric.shown_name}" for metric in declared().values()} <= set(shown)


def test_what_was_not_measured_is_left_out() -> None:
    shown = headline([changed(DENSE, miou_retention=None)])
    missing = {
        "eval/latency_ms",
        "eval/logit_mse",
        "eval/miou_retention_percent",
        "prune/miou",
        "prune/logit_mse",
    }
    assert not missing & set(shown)
    assert shown["eval/miou"] == shown["baseline/miou"] == 54.7
    assert 0 not in shown.values()
