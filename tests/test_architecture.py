"""The house rules that a reader relies on: who imports whom, and one keeper per third-party door."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "segprune"
ORDER = [
    "errors", "gpu", "allocator", "importing", "shortage", "stop", "console", "seed", "durable", "status",
    "dataset", "model", "loss", "schedule", "graph", "measure", "deploy", "transform", "training", "distill",
    "pruner", "budget", "checkpoint", "store",
    "tracking", "result", "stage", "config", "predict", "run", "doctor", "reproduce",
    "report", "app", "sweep", "cli", "bench", "gpu_check", "__main__",
]  # fmt: skip
DOORS = {
    "torch_pruning": {"graph", "bench"},
    "fvcore": {"measure"},
    "mlflow": {"tracking"},
    "albumentations": {"dataset"},
    "hydra": {"config", "sweep", "cli"},
    "omegaconf": {"config", "run", "app", "sweep", "cli"},
    "tifffile": {"dataset"},
    "timm": {"model"},
    "segmentation_models_pytorch": {"model"},
    "transformers": {"model"},
    "jinja2": {"report"},
    "onnx": {"deploy"},
    "onnxscript": {"deploy"},
    "onnxruntime": {"deploy"},
    "openvino": {"deploy"},
}
CONTRACTS = {"segprune.dataset.contract", "segprune.model.contract", "segprune.graph.group"}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "segprune":
                yield from (f"segprune.{alias.name}" for alias in node.names)


def test_every_room_has_its_place() -> None:
    assert {room(path) for path in modules()} == set(ORDER)


def test_the_map_of_the_rooms_has_them_in_their_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## The rooms")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == ORDER


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_rooms_above_it(path: Path) -> None:
    mine = ORDER.index(room(path))
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "segprune" and len(parts) > 1 and name not in CONTRACTS:
            if room(path) in ("cli", "sweep") and parts[1] in ("app", "sweep"):
                continue
            assert ORDER.index(parts[1]) <= mine, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_third_party_doors_have_one_keeper(path: Path) -> None:
    for name in imported(path):
        keepers = DOORS.get(name.split(".")[0])
        assert keepers is None or room(path) in keepers, f"{path.name} imports {name}"


def test_every_source_file_has_its_test() -> None:
    missing = []
    declarations = (
        "contract.py",
        "group.py",
        "errors.py",
        "protocol.py",
    )  # nothing in them can be wrong by itself
    for path in modules():
        inside = path.relative_to(SOURCE)
        twin = ROOT / "tests" / inside.parent / f"test_{inside.name}"
        if inside.name not in ("__init__.py", *declarations) and not twin.exists():
            missing.append(str(inside))
    assert missing == []


def test_nothing_unpickles() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load"):
                safe = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert safe.get("weights_only") == "True" or safe.get("allow_pickle") == "False", path
            if isinstance(node, ast.Call):
                assert not ast.unparse(node.func).startswith(("pickle.", "joblib.", "dill.")), path
