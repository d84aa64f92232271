import logging

import pytest

from segprune.bench import CASES, main, table
from segprune.measure.latency import Latency


def test_a_line_says_how_much_of_the_promise_was_kept() -> None:
    # half the MACs promise x2; 12 ms against 10 and 7.5 ms pair to ratios 1.2 and 1.6: median 1.4, 0.7 of 2
    dense, half = Latency(times_ms=(12.0, 12.0), batch_size=1), Latency(times_ms=(10.0, 7.5), batch_size=1)
    lines = table([dense] + [half] * len(CASES), [1.0] + [0.5] * len(CASES)).splitlines()
    assert len(lines) == 2 + len(CASES)
    assert lines[2].split() == ["multiples", "of", "1", "0.500", "8.8", "x1.40", "(1.30-1.50)", "0.70"]


def test_the_benchmark_runs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        main(["--size", "32", "32", "--width", "32", "--rounds", "1"])
    assert caplog.text.count("multiples of 8") == 3
