from pathlib import Path

import pytest

from segprune.report.paired import by_seed, difference
from segprune.report.statistics import Scatter, image_difference
from tests.report.sweeps import counts, job_data, store


def test_images_decide_where_their_counts_are_kept(tmp_path: Path) -> None:
    hits = {"l1": [60, 61, 59, 64, 60, 62], "taylor": [80, 82, 78, 85, 79, 81]}
    one, other = (
        by_seed([job_data(n, name, 40.0, root=tmp_path, names=store(tmp_path, name, hits[name]))])
        for n, name in enumerate(("taylor", "l1"))
    )
    expected = image_difference([counts(hits["taylor"])], [counts(hits["l1"])], level=0.9)
    assert difference(one, other, level=0.9) == expected


def test_seeds_decide_where_they_are_not(caplog: pytest.LogCaptureFixture) -> None:
    one = by_seed(job_data(seed, "l1", 40.0 + seed, seed=seed) for seed in (0, 1, 2))
    other = by_seed(job_data(seed, "fpgm", 38.0, seed=seed) for seed in (1, 2, 3))
    found = difference(one, other)
    assert found is not None
    assert (found.over, found.per_seed) == ("seeds", (3.0, 4.0))  # seeds 1 and 2 are in both
    narrow = difference(one, other, level=0.5, scatter=Scatter(variance=0.01, freedom=30))
    assert narrow is not None
    assert (narrow.level, found.level) == (0.5, 0.95)
    assert narrow.high - narrow.low < found.high - found.low
    assert not caplog.text


def test_one_common_seed_tells_nothing() -> None:
    assert difference(by_seed([job_data(0, "l1", 40.0)]), by_seed([job_data(1, "fpgm", 38.0)])) is None


def test_failed_jobs_do_not_count() -> None:
    assert by_seed([job_data(0, "l1", None)]) == {}
