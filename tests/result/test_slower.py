from pathlib import Path

from segprune.result.caution import cautions
from segprune.result.slower import slower
from tests.rows import CUT, DENSE, changed

ROOT = Path(__file__).parent.parent.parent


def test_a_cut_that_costs_time_is_told_with_the_runtime_and_by_run() -> None:
    raw = changed(CUT, run="l1-r0.5-s0", stage="pruned_raw", speedup_onnxruntime=0.75, speedup=0.98)
    tuned = changed(raw, stage="finetuned", speedup_onnxruntime=0.76)
    (told,) = cautions([DENSE, raw, tuned])
    assert told.startswith("Slower than the dense network, although cut: l1-r0.5-s0 in onnxruntime (x0.76). ")
    assert "budget.round_to" in told
    assert (ROOT / "docs" / "why_not_faster.md").is_file()
    assert slower(tuned) == {"onnxruntime": 0.76}
    assert slower(changed(DENSE, latency_onnxruntime_ms=2.5, speedup_onnxruntime=0.5)) == {}


def test_the_last_network_decides_not_one_before_it() -> None:
    raw = changed(CUT, run="l1-r0.5-s0", stage="pruned_raw", speedup_onnxruntime=0.9)
    assert cautions([DENSE, raw, changed(raw, stage="finetuned", speedup_onnxruntime=1.2)]) == []


def test_integers_that_gain_nothing_are_told_beside_their_float_network_and_blame_no_widths() -> None:
    tuned = changed(CUT, run="l1-r0.5-s0", stage="finetuned", speedup_onnxruntime=1.2)
    small = changed(tuned, stage="finetuned_int8", speedup_onnxruntime=0.87)
    (told,) = cautions([small, tuned])
    assert told.startswith(
        "Slower than their float networks, although quantised: finetuned_int8 of l1-r0.5-s0 in onnxruntime "
        "(x0.87, in float x1.20). "
    )
    assert "round_to" not in told
    assert (ROOT / "docs" / "int8.md").is_file()
    assert cautions([changed(small, speedup_onnxruntime=1.3), tuned]) == []


def test_of_many_slow_cuts_a_few_are_named() -> None:
    rows = [changed(CUT, run=f"r{number}", speedup=0.5) for number in range(7)]
    (told,) = cautions(rows)
    assert "r4 in eager (x0.50) and 2 more." in told
