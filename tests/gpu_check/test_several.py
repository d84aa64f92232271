from pathlib import Path

import pytest

from segprune.gpu_check.several import several_gpus
from tests.gpu_check.benches import small

pytestmark = pytest.mark.slow


def test_two_processes_are_compared_with_one(tmp_path: Path) -> None:
    found = several_gpus(small(tmp_path))
    assert found.holds
    assert found.measured.startswith("two processes: losses 0.0")
