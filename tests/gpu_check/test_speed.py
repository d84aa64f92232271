import re
from pathlib import Path

import pytest

from segprune.gpu_check.speed import evaluation_speed, latency, training_speed
from tests.gpu_check.benches import small

pytestmark = pytest.mark.slow


def test_speeds_are_measured(tmp_path: Path) -> None:
    bench = small(tmp_path)  # whether they hold is nothing that a busy CPU can say
    shape = (
        r"\d+\.\d images/s, \d+\.\d\d of a bare loop; peak 0 MB, \+0\.0 MB from step 10 to 40; 0\.00 waits.*"
    )
    assert re.fullmatch(shape, training_speed(bench).measured)
    assert re.fullmatch(
        r"x\d\.\d{3} against its copy; the work takes 100 % of the time", latency(bench).measured
    )
    assert re.fullmatch(r"\d+\.\d{3} s an image and network", evaluation_speed(bench).measured)
