import csv
from dataclasses import replace
from pathlib import Path
from typing import Literal

from segprune.report.table import Outcome, sweep_table, write_csv
from segprune.result.metrics import declared
from segprune.result.row import Row, from_record, to_record
from segprune.result.table import chain_table
from tests.rows import DENSE as LIKE_IT
from tests.rows import changed, version_1

DENSE = changed(
    LIKE_IT,
    seed=0,
    params=2_000_000,
    macs=1_500_000_000,
    miou_percent=54.716,
    mean_accuracy_percent=60.0,
    latency_batch_size=1,
    latency_ms_median=25.0,
    latency_ms_p95=27.0,
    latency_ms_iqr=1.25,
    frames_per_s=40.0,
    pixels_per_s=491_520.0,
    speedup=1.0,
    file_size_bytes=8_000_000,
    peak_memory_mb=9.0,
)
PRUNED = changed(
    DENSE,
    stage="pruned",
    pruner="taylor",
    budget="channels",
    scope="global",
    ratio_asked=0.3,
    ratio_reached=0.2984375,
    params=1_000_000,
    macs=600_000_000,
    params_kept=0.5,
    macs_kept=0.4,
    channels_kept=0.7015625,
    miou_percent=11.0,
    miou_retention=0.201,
    latency_batch_size=None,
    latency_ms_median=None,
    latency_ms_p95=None,
    latency_ms_iqr=None,
    frames_per_s=None,
    pixels_per_s=None,
    speedup=None,
)
TUNED = changed(
    PRUNED,
    stage="finetuned",
    miou_percent=49.0,
    miou_retention=0.8957,
    latency_batch_size=1,
    latency_ms_median=12.5,
    latency_ms_p95=13.0,
    latency_ms_iqr=0.5,
    frames_per_s=80.0,
    pixels_per_s=983_040.0,
    speedup=1.96,
)


def outcome(
    pruner: str,
    ratio: float,
    *,
    status: Literal["done", "reused", "failed"] = "done",
    rows: tuple[Row, ...] = (DENSE, PRUNED, TUNED),
    seed: int = 0,
    protocol: str = "standard",
) -> Outcome:
    return Outcome(
        dataset="streets",
        model="unet",
        pruner=pruner,
        budget="channels",
        protocol=protocol,
        ratio=ratio,
        seed=seed,
        status=status,
        reason="BudgetError: floor reached" if status == "failed" else "",
        rows=rows,
    )


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_columns_are_aligned_and_fit_a_console() -> None:
    *_, titles, dense, tuned = chain_table([DENSE, TUNED]).splitlines()
    assert len(titles) == len(dense) == len(tuned)  # the last column is flush right
    whole = sweep_table([outcome("activation_rank", 0.25, seed=seed) for seed in (0, 1)])
    assert max(map(len, whole.splitlines())) <= 120


def test_sweep_lines_are_sorted_by_pruner_and_then_ratio() -> None:
    outcomes = [outcome("taylor", 0.5), outcome("fpgm", 0.3), outcome("taylor", 0.3), outcome("fpgm", 0.6)]
    lines = words(sweep_table(outcomes))[3:]
    assert [line[:2] for line in lines] == [
        ["fpgm", "0.300"],
        ["fpgm", "0.600"],
        ["taylor", "0.300"],
        ["taylor", "0.500"],
    ]


def test_a_sweep_line_holds_asked_reached_costs_and_the_three_mious() -> None:
    *_, titles, line = words(sweep_table([outcome("taylor", 0.3, status="reused")]))
    assert dict(zip(titles, line, strict=True)) == {
        "pruner": "taylor",
        "asked": "0.300",
        "reached": "0.298",
        "MACs": "40.0",
        "params": "50.0",
        "dense": "54.72",
        "pruned": "11.00",
        "tuned": "49.00",
        "kept": "0.896",
        "ms": "12.5",
        "speed-up": "x1.96",
        "status": "reused",
    }


def test_thresholds_have_a_column_and_ratios_only_if_one_was_asked_for() -> None:
    below = tuple(changed(row, ratio_asked=None, threshold=0.01) for row in (PRUNED, TUNED))
    by_threshold = replace(outcome("slimming", 0.3, rows=(DENSE, *below)), ratio=None)
    *_, titles, line = words(sweep_table([by_threshold]))
    assert dict(zip(titles, line, strict=True))["threshold"] == "0.01"
    assert "asked" not in titles
    *_, titles, first, second = words(sweep_table([by_threshold, outcome("taylor", 0.3)]))
    assert [dict(zip(titles, line, strict=True))["asked"] for line in (first, second)] == ["-", "0.300"]
    assert (by_threshold.asked, outcome("taylor", 0.3).asked) == ("< 0.01", "0.300")


def test_what_was_not_to_be_cut_has_neither_pruner_nor_ratio() -> None:
    control, alone = outcome("taylor", 0.3, protocol="dense"), outcome("taylor", 0.3, rows=(DENSE,))
    failed = outcome("taylor", 0.3, status="failed", rows=(DENSE,))
    assert [(one.asked, one.cut) for one in (control, alone)] == [("-", "not cut")] * 2
    assert (failed.asked, failed.cut) == ("0.300", "0.3 of channels")
    *_, titles, line = words(sweep_table([alone]))
    found = dict(zip(titles, line, strict=True))
    assert (found["pruner"], found["asked"], found["dense"]) == ("-", "-", "54.72")


def test_without_finetuning_the_pruned_network_is_the_last_one() -> None:
    raw = changed(PRUNED, stage="pruned_raw", miou_percent=5.0)
    *_, titles, line = words(sweep_table([outcome("taylor", 0.3, rows=(DENSE, raw, PRUNED))]))
    found = dict(zip(titles, line, strict=True))
    assert (found["pruned"], found["tuned"], found["kept"], found["ms"]) == ("11.00", "-", "0.201", "-")


def test_a_failed_job_is_listed_with_its_reason_and_what_it_reached() -> None:
    text = sweep_table([outcome("taylor", 0.9, status="failed", rows=(DENSE,)), outcome("fpgm", 0.3)])
    assert text.splitlines()[-1] == "FAILED taylor 0.9 seed 0: BudgetError: floor reached"
    line = next(line for line in words(text) if line[-1] == "FAILED")
    assert line == ["taylor", "0.900", "-", "-", "-", "54.72", "-", "-", "-", "-", "-", "FAILED"]


def test_a_job_that_is_not_finished_has_its_line_and_only_a_killed_one_a_reason() -> None:
    outcomes = [
        replace(outcome("l1", 0.3, rows=()), status="killed", reason="stopped before its end"),
        replace(outcome("l2", 0.3, rows=()), status="running", reason="process 12 on node7"),
        replace(outcome("taylor", 0.3, rows=()), status="not started"),
    ]
    text = sweep_table(outcomes)
    lines = text.splitlines()
    assert [line.split(" - ")[-1].strip() for line in lines[-4:-1]] == ["KILLED", "running", "not started"]
    assert lines[-1] == "KILLED l1 0.3 seed 0: stopped before its end"


def test_a_sweep_in_which_all_failed_is_still_a_table() -> None:
    text = sweep_table([outcome("taylor", 0.9, status="failed", rows=())])
    assert words(text)[-2] == ["taylor", "0.900", *["-"] * 9, "FAILED"]
    assert text.endswith("BudgetError: floor reached")


def test_only_what_differs_between_the_jobs_is_a_column() -> None:
    assert "seed" not in words(sweep_table([outcome("taylor", 0.3)]))[-2]
    titles, first, second = words(sweep_table([outcome("taylor", 0.3, seed=seed) for seed in (7, 5)]))[-3:]
    assert titles[1] == "seed"
    assert (first[1], second[1]) == ("5", "7")


def test_csv_holds_every_digit_of_every_field_and_nothing_for_null(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [changed(DENSE, miou_percent=0.1 + 0.2), changed(TUNED, run="a, b")]
    write_csv(rows, path)
    with path.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    for row, record in zip(rows, records, strict=True):
        assert record == {name: "" if value is None else str(value) for name, value in to_record(row).items()}
    assert float(records[0]["miou_percent"]) == 0.1 + 0.2


def test_a_csv_of_no_rows_still_has_its_header(tmp_path: Path) -> None:
    write_csv([], tmp_path / "rows.csv")
    (header,) = (tmp_path / "rows.csv").read_text().splitlines()
    assert header.startswith("schema_version,run,stage,")


PREPARED = changed(DENSE, stage="prepared", miou_percent=51.0, logit_mse=0.1, argmax_agreement_percent=97.0)


def test_a_network_prepared_for_the_cut_has_its_line_and_its_column() -> None:
    assert words(chain_table([DENSE, PREPARED, PRUNED]))[4][:2] == ["prepared", "51.00"]
    outcomes = [outcome("slimming", 0.3, rows=(DENSE, PREPARED, PRUNED, TUNED)), outcome("taylor", 0.3)]
    titles, slimming, taylor = words(sweep_table(outcomes))[-3:]
    column = titles.index("prepared")
    assert titles[column - 1 : column + 2] == ["dense", "prepared", "pruned"]
    assert (slimming[column], taylor[column]) == ("51.00", "-")
    assert "prepared: mIoU % after the criterion's own training" in sweep_table(outcomes)
    assert "prepared" not in sweep_table(outcomes[1:])


def test_a_ratio_that_nobody_asked_for_is_a_dash() -> None:
    rows = (DENSE, changed(PRUNED, ratio_asked=None))
    assert "removed - of channels asked | reached 0.298" in chain_table(rows)
    failed = replace(outcome("slimming", 0.3, status="failed", rows=()), ratio=None)
    text = sweep_table([replace(outcome("slimming", 0.3, rows=rows), ratio=None), failed])
    titles, done, _ = words(text)[-4:-1]
    assert (done[titles.index("asked")], done[titles.index("reached")]) == ("-", "0.298")
    assert text.splitlines()[-1].startswith("FAILED slimming - seed 0: ")


def test_controls_come_last_and_the_network_that_was_never_cut_has_no_pruner() -> None:
    half, dense, asked = (
        outcome("l1", 0.5, protocol="half"),
        outcome("taylor", 0.3, protocol="dense"),
        outcome("random", 0.3),
    )
    *_, titles, first, second, third = words(sweep_table([half, dense, asked]))
    assert titles[:3] == ["pruner", "protocol", "asked"]
    assert [line[:3] for line in (first, second, third)] == [
        ["random", "standard", "0.300"],
        ["-", "dense", "-"],
        ["l1", "half", "0.500"],
    ]


def test_a_sweep_says_when_its_times_cannot_be_compared() -> None:
    def job_data(latency_ms: float) -> Outcome:
        return outcome("l1", 0.3, rows=(changed(DENSE, latency_ms_median=latency_ms), PRUNED))

    assert "Times cannot be compared" in sweep_table([job_data(10.0), job_data(30.0)])
    assert "Times cannot be compared" not in sweep_table([job_data(10.0), job_data(11.0)])


def test_few_images_are_told_once_below_the_table() -> None:
    few = outcome("l1", 0.5, rows=(changed(DENSE, report_images=7), changed(PRUNED, report_images=7)))
    assert sweep_table([few, few]).count("7 report images of streets val: fewer than 60") == 1
    assert "fewer than 60" not in sweep_table([outcome("l1", 0.5)])


def test_cautions_name_jobs_by_what_their_runs_are_not_named_after() -> None:
    slow = [
        replace(
            outcome("l1", 0.3, rows=(DENSE, changed(TUNED, speedup=speedup)), seed=seed),
            setting=f"loss={loss}",
        )
        for seed, (loss, speedup) in enumerate({"ce": 0.75, "dice": 0.37}.items())
    ]
    run = DENSE.run
    told = f"although cut: {run} (loss=dice) in eager (x0.37), {run} (loss=ce) in eager (x0.75)."
    assert told in sweep_table(slow)
    assert f"although cut: {run} in eager (x0.75)." in sweep_table(slow[:1])


def test_csv_keeps_columns_that_only_some_rows_have(tmp_path: Path) -> None:
    write_csv([DENSE, changed(TUNED, of_tomorrow="int8")], tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        assert [record["of_tomorrow"] for record in csv.DictReader(file)] == ["", "int8"]


def test_a_table_of_rows_that_lack_columns_has_dashes() -> None:
    old = [from_record(version_1(row)) for row in (DENSE, changed(TUNED, speedup=None, macs_kept=None))]
    *_, titles, line = words(sweep_table([outcome("taylor", 0.3, rows=tuple(old))]))
    found = dict(zip(titles, line, strict=True))
    assert (found["MACs"], found["speed-up"], found["tuned"], found["ms"]) == ("-", "-", "49.00", "12.5")
    bare = changed(TUNED, **dict.fromkeys(declared()))
    assert words(chain_table([bare]))[-1] == ["finetuned", *["-"] * 6]
    assert "classes - |" in chain_table([bare])


def test_the_network_of_another_stage_has_its_column_and_is_the_last_one() -> None:
    small = changed(TUNED, stage="quantised", miou_percent=48.0, miou_retention=0.877)
    text = sweep_table([outcome("taylor", 0.3, rows=(DENSE, PRUNED, TUNED, small))])
    found = dict(zip(*words(text)[-2:], strict=True))
    assert (found["tuned"], found["quantised"], found["kept"]) == ("49.00", "48.00", "0.877")
    assert "quantised: mIoU % after that stage" in text


def test_jobs_that_differ_in_another_key_are_told_apart() -> None:
    narrow, wide = (replace(outcome("taylor", 0.3), setting=f"model.width={width}") for width in (4, 8))
    lines = sweep_table([wide, narrow]).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("pruner"))
    assert lines[start].split()[:2] == ["pruner", "setting"]
    assert [line.split()[1] for line in lines[start + 1 : start + 3]] == ["model.width=4", "model.width=8"]
    assert "setting" not in sweep_table([narrow])
