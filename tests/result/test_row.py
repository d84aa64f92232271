import json
from dataclasses import replace

import pytest

from segprune.errors import CheckpointError
from segprune.result.row import Row, Stage, from_record, to_record

DENSE = Row(
    run="taylor-r0.3",
    stage="dense",
    dataset="streets",
    split="val",
    model="unet",
    pruner=None,
    budget=None,
    scope=None,
    ratio_asked=None,
    ratio_reached=None,
    seed=3,
    size_h_px=96,
    size_w_px=128,
    params=485_000,
    macs=712_345_678,
    channels=640,
    channels_dense=640,
    params_kept=1.0,
    macs_kept=1.0,
    channels_kept=1.0,
    miou_percent=54.7,
    pixel_accuracy_percent=86.25,
    mean_accuracy_percent=0.1 + 0.2,  # no short decimal: has to survive to the last bit
    fw_iou_percent=77.5,
    classes_scored=11,
    miou_retention=1.0,
    pixel_accuracy_retention=1.0,
    boundary_iou_percent=31.5,
    small_objects=40,
    small_object_recall_percent=62.5,
    logit_mse=None,
    argmax_agreement_percent=None,
    latency_batch_size=None,
    latency_ms_median=None,
    latency_ms_p95=None,
    latency_ms_iqr=None,
    frames_per_s=None,
    pixels_per_s=None,
    speedup=None,
    realisation_efficiency=None,
    file_size_bytes=1_951_232,
    peak_memory_mb=None,
    device="cpu",
    fingerprint="ab12",
)
CUT = replace(
    DENSE,
    stage="pruned",
    pruner="taylor",
    budget="channels",
    scope="global",
    ratio_asked=0.3,
    ratio_reached=0.2984375,
    logit_mse=0.25,
    argmax_agreement_percent=87.5,
    latency_batch_size=1,
    latency_ms_median=12.5,
    latency_ms_p95=13.0,
    latency_ms_iqr=0.5,
    frames_per_s=80.0,
    pixels_per_s=983_040.0,
    speedup=1.5,
    realisation_efficiency=0.9,
    peak_memory_mb=4.5,
)


@pytest.mark.parametrize("row", [DENSE, CUT], ids=["dense", "cut"])
def test_a_row_survives_a_line_of_json_bit_for_bit(row: Row) -> None:
    line = json.dumps(to_record(row))
    assert from_record(json.loads(line)) == row


def test_a_record_is_flat_and_says_its_version() -> None:
    record = to_record(CUT)
    assert record["schema_version"] == 2
    assert all(value is None or isinstance(value, str | int | float) for value in record.values())


def test_a_whole_number_is_read_where_a_fraction_is_meant() -> None:
    # JSON written by other programs drops ".0"
    assert from_record(to_record(DENSE) | {"miou_percent": 54}).miou_percent == 54.0


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_another_version_is_refused(version: int | str | None) -> None:
    with pytest.raises(CheckpointError, match=f"schema_version {version!r}, this program reads 2; run the"):
        from_record(to_record(DENSE) | {"schema_version": version})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"miou": 3.0}, "miou: Unexpected keyword argument", id="unknown"),
        pytest.param({"params": 1.5}, r"params: Input should be a valid integer .*got 1.5", id="type"),
        pytest.param({"seed": True}, "seed: Input should be a valid integer", id="bool"),
        pytest.param({"stage": "cut"}, "stage: Input should be 'dense', .*got 'cut'", id="word"),
        pytest.param(
            {"channels_kept": 1.5}, "channels_kept: .* less than or equal to 1 .*got 1.5", id="range"
        ),
        pytest.param({"miou_percent": float("nan")}, "miou_percent: .*finite number", id="nan"),
        pytest.param(
            {"pruner": "taylor"},
            r"'pruner': 'taylor', 'budget': None.* must be null together",
            id="null rule",
        ),
    ],
)
def test_a_record_with_a_wrong_key_or_value_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_record(to_record(DENSE) | changes)


def test_a_record_with_a_missing_key_is_refused() -> None:
    record = to_record(DENSE)
    del record["macs"]
    with pytest.raises(CheckpointError, match=r"macs: Field required .*run the experiment again"):
        from_record(record)


@pytest.mark.parametrize("field", ["pruner", "budget", "scope", "ratio_reached"])
def test_what_describes_a_cut_is_there_whole_or_not_at_all(field: str) -> None:
    with pytest.raises(ValueError, match=f"'{field}': None.* must be null together"):
        replace(CUT, **{field: None})
    with pytest.raises(ValueError, match=f"'{field}': {getattr(CUT, field)!r}.* must be null together"):
        replace(DENSE, **{field: getattr(CUT, field)})


def test_a_cut_below_a_threshold_asked_for_no_ratio_but_a_ratio_needs_a_cut() -> None:
    assert replace(CUT, ratio_asked=None).pruner == "taylor"
    with pytest.raises(ValueError, match=r"ratio_asked is 0\.3 without a pruner"):
        replace(DENSE, ratio_asked=0.3)


@pytest.mark.parametrize("stage", ["finetuned", "prepared"])
def test_a_network_that_was_trained_and_not_cut_has_no_ratio(stage: Stage) -> None:
    row = replace(DENSE, stage=stage, logit_mse=0.1, argmax_agreement_percent=99.0)
    assert from_record(to_record(row)) == row


LATENCY = {
    "latency_batch_size": 1,
    "latency_ms_median": 12.5,
    "latency_ms_p95": 13.0,
    "latency_ms_iqr": 0.5,
    "frames_per_s": 80.0,
    "pixels_per_s": 983_040.0,
}


@pytest.mark.parametrize("field", LATENCY)
def test_latency_comes_whole_or_not_at_all(field: str) -> None:
    with pytest.raises(ValueError, match=f"'{field}': None.* must be null together, where nothing was timed"):
        replace(CUT, **{field: None})


def test_what_is_made_of_a_latency_needs_one() -> None:
    with pytest.raises(ValueError, match=r"speedup is 1\.5 without a latency_ms_median"):
        replace(CUT, **dict.fromkeys(LATENCY))
    with pytest.raises(ValueError, match=r"realisation_efficiency is 0\.9 without a speedup"):
        replace(CUT, speedup=None)


def test_reconstruction_comes_whole_or_not_at_all() -> None:
    with pytest.raises(
        ValueError, match=r"'logit_mse': 0\.25, 'argmax_agreement_percent': None.* null together"
    ):
        replace(CUT, argmax_agreement_percent=None)


def test_recall_is_null_exactly_where_there_is_nothing_to_find() -> None:
    assert replace(CUT, small_objects=0, small_object_recall_percent=None).small_objects == 0
    with pytest.raises(ValueError, match=r"small_object_recall_percent is 62\.5 of 0 small_objects"):
        replace(CUT, small_objects=0)
    with pytest.raises(ValueError, match="small_object_recall_percent is None of 40 small_objects"):
        replace(CUT, small_object_recall_percent=None)
