from pathlib import Path

import pytest

from segprune.bench.contract import Bench
from segprune.bench.loading import measure


@pytest.mark.slow
def test_images_in_memory_and_of_files_are_measured(tmp_path: Path) -> None:
    (tmp_path / "loading").mkdir()
    found = {one.what: one for one in measure(Bench(folder=tmp_path / "loading", is_quick=True, rounds=1))}
    assert all(one.value > 0 for one in found.values())
    assert found["images of files, kept in memory"].sizes == "6 PNG of 256x512 px to 128x256 px"
    assert found["images in memory, 0 loading processes"].unit == "images/s"
