"""torch-pruning is imported without what takes seconds, and what is hidden can be imported afterwards."""

import importlib
import json
import subprocess
import sys

import pytest

from segprune.graph.engine import hidden

CODE = """
import sys
from segprune.graph.engine import tp
assert "timm" not in sys.modules and "torchvision" not in sys.modules
assert not tp.utils.op_counter.has_timm
"""


@pytest.mark.slow
def test_its_import_brings_no_networks_of_others() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=300)


def test_what_is_there_stays_and_what_is_hidden_comes_back() -> None:
    with hidden("json"):
        assert importlib.import_module("json") is json
    assert "this" not in sys.modules
    with hidden("this"), pytest.raises(ImportError):
        importlib.import_module("this")
    assert "this" not in sys.modules
