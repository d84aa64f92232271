from pathlib import Path

from segprune.result.caution import cautions
from segprune.result.slower import slower
from tests.rows import CUT, DENSE, changed

ROOT = Path(__file__).parent.parent.parent


def test_a_cut_that_costs_time_is_told_with_the_runtime_and_by_run() -> None:
    raw = changed(CUT, stage="pruned_raw", speedup_onnxruntime=0.75, speedup=0.98)
    tuned = changed(raw, stage="finetuned", speedup_onnxruntime=0.76)
    (told,) = cautions([("own", [DENSE, raw, tuned])])
    assert told.startswith("Slower than the dense network, although cut: own in onnxruntime (x0.76). ")
    assert "budget.round_to" in told
    assert (ROOT / "docs" / "why_not_faster.md").is_file()
    assert slower(tuned) == {"onnxruntime": 0.76}
    assert slower(changed(DENSE, latency_onnxruntime_ms=2.5, speedup_onnxruntime=0.5)) == {}


def test_the_last_network_decides_not_one_before_it() -> None:
    raw = changed(CUT, stage="pruned_raw", speedup_onnxruntime=0.9)
    assert cautions([("own", [DENSE, raw, changed(raw, stage="finetuned", speedup_onnxruntime=1.2)])]) == []


def test_integers_that_gain_nothing_are_told_beside_their_float_network_and_blame_no_widths() -> None:
    tuned = changed(CUT, stage="finetuned", speedup_onnxruntime=1.2)
    small = changed(tuned, stage="finetuned_int8", speedup_onnxruntime=0.87)
    (told,) = cautions([("own", [small, tuned])])
    assert told.startswith(
        "Slower than their float networks, although quantised: finetuned_int8 of own in onnxruntime "
        "(x0.87, in float x1.20). "
    )
    assert "round_to" not in told
    assert (ROOT / "docs" / "int8.md").is_file()
    assert cautions([("own", [changed(small, speedup_onnxruntime=1.3), tuned])]) == []


def test_of_many_slow_cuts_a_few_are_named() -> None:
    jobs = [(f"r{number}", [changed(CUT, speedup=0.9 - number / 10)]) for number in range(7)]
    (told,) = cautions(jobs)
    assert "although cut: r6 in eager (x0.30), r5 " in told
    assert "r2 in eager (x0.70) and 2 more." in told
    assert cautions(reversed(jobs)) == [told]


def test_of_jobs_whose_runs_have_one_name_each_is_told() -> None:
    tuned = changed(CUT, stage="finetuned", speedup=0.75)
    small = changed(tuned, stage="finetuned_int8", speedup=0.6)
    other = [changed(row, speedup=row["speedup"] / 2) for row in (small, tuned)]
    cut, quantised = cautions([("a", [small, tuned]), ("b", other)])
    assert "although cut: b in eager (x0.38), a in eager (x0.75)." in cut
    assert "finetuned_int8 of a in eager (x0.60, in float x0.75), finetuned_int8 of b in" in quantised
