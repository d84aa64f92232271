import pytest

from segprune.report.timing import unsteadiness
from segprune.result.row import Row
from tests.rows import CUT, DENSE, changed


def timed(row: Row, median: float, **changes: object) -> Row:
    times = {"latency_ms_median": median, "latency_ms_p95": median, "latency_ms_iqr": 0.1}
    return changed(
        row, latency_batch_size=1, **times, frames_per_s=1000 / median, pixels_per_s=1e6 / median, **changes
    )


def times(*medians: float, **changes: object) -> list[Row]:
    return [timed(DENSE, median, **changes) for median in medians]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [*times(4.0), DENSE],  # one was not timed
        times(4.0, 4.8),
        [*times(4.0), *times(9.0, fingerprint="another")],  # of another seed
        [*times(4.0), *times(9.0, device="cuda")],
        [*times(4.0), timed(CUT, 1.0)],  # not the same network
    ],
)
def test_times_that_agree_are_not_doubted(rows) -> None:
    assert unsteadiness(rows) == ""


def test_one_network_that_took_different_times_is_told_with_both() -> None:
    told = unsteadiness([*times(11.6, 284.5, 15.5), *times(5.0, 7.0, fingerprint="another")])
    assert told.startswith("Times cannot be compared: the same dense network took 11.6 to 284.5 ms")
