import sys
from pathlib import Path

import pytest
import torch

from segprune.store.libraries import is_of_python, libraries, versions_of


def test_torch_counts_with_its_build() -> None:
    assert versions_of(["torch"])["torch"] == torch.__version__


def test_a_package_belongs_to_the_distribution_that_installed_it() -> None:
    assert libraries("yaml") == ["pyyaml"]
    assert libraries("segprune") == libraries("nowhere") == []  # installed in place, or not at all


def test_a_module_of_python_is_known_by_its_name_and_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_of_python.cache_clear()
    assert all(map(is_of_python, ("os", "sys", "json", "wave")))
    assert not any(map(is_of_python, ("torch", "yaml", "nowhere")))
    (tmp_path / "sndhdr.py").write_text("a = 1")
    monkeypatch.syspath_prepend(tmp_path)
    assert "sndhdr" in sys.stdlib_module_names - set(sys.modules)
    assert not is_of_python("sndhdr")
    is_of_python.cache_clear()
