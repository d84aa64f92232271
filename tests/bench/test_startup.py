import math

import pytest

from segprune.bench.startup import grid


@pytest.mark.parametrize("jobs", [3, 9, 30, 36, 243, 300])
def test_a_grid_has_as_many_jobs_as_were_asked_for(jobs: int) -> None:
    assert math.prod(len(part.partition("=")[2].split(",")) for part in grid(jobs)) == jobs


def test_a_number_that_three_criteria_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="10 jobs are no multiple"):
        grid(10)
