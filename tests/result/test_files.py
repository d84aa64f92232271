import ast
from collections import Counter
from pathlib import Path

import pytest

from segprune.checkpoint import contract
from segprune.result import files

SOURCE = Path(__file__).parents[2] / "src" / "segprune"


@pytest.mark.slow
def test_the_name_of_a_file_is_spelled_once() -> None:
    names = {value for room in (contract, files) for name, value in vars(room).items() if name.isupper()}
    assert {"plan.json", "scores.safetensors", "curve.json", "net.json"} <= names
    nodes = (node for path in SOURCE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    spelled = Counter(node.value for node in nodes if isinstance(node, ast.Constant) and node.value in names)
    assert spelled == dict.fromkeys(names, 1)
