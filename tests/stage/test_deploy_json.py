from pathlib import Path

import pytest

from segprune.deploy.parity import Parity
from segprune.stage.deploy_json import line, metrics, of_files, of_parity

PARITY = {
    "onnxruntime": Parity(max_abs_error=0.5, max_abs_logit=100.0, argmax_agreement=1.0, images=9),
    "openvino": Parity(max_abs_error=0.25, max_abs_logit=10.0, argmax_agreement=0.75, images=9),
}
FACTS = {
    "output": "logits",
    "network": {"name": "finetuned"},
    "files": {"model.onnx": {"bytes": 1_234_567}},
    "onnx": {"opset": 20, "exporter": "dynamo", "nodes": 32},
    "parity": of_parity(PARITY, "logits"),
}
IDS = {**FACTS, "output": "argmax", "parity": of_parity(PARITY, "argmax")}


def test_metrics_are_those_of_the_worst_runtime() -> None:
    assert metrics("export", FACTS) == {
        "export/parity_max_abs": 0.5,
        "export/parity_relative": pytest.approx(0.025),
        "export/argmax_agreement_percent": 75,
        "export/file_size_bytes": 1_234_567,
        "export/nodes": 32,
    }


def test_the_console_says_what_was_written_and_how_exact_it_is() -> None:
    assert line(FACTS) == (
        "model.onnx: finetuned, 1.23 MB, opset 20, by dynamo; largest error by largest logit: "
        "0.005 in onnxruntime, 0.03 in openvino"
    )


def test_of_class_ids_it_is_told_how_many_are_the_same_and_nothing_of_logits() -> None:
    nothing = {"max_abs_error": None, "max_abs_logit": None, "relative_error": None}
    assert IDS["parity"] == {
        "onnxruntime": {"argmax_agreement": 1.0, "images": 9, **nothing},
        "openvino": {"argmax_agreement": 0.75, "images": 9, **nothing},
    }
    assert metrics("export", IDS) == {
        "export/argmax_agreement_percent": 75,
        "export/file_size_bytes": 1_234_567,
        "export/nodes": 32,
    }
    assert line(IDS).endswith(
        "by dynamo; pixels with the network's class id: 100.0000% in onnxruntime, 75.0000% in openvino"
    )


def test_files_are_known_by_their_checksums(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"abc")
    (tmp_path / "other").write_bytes(b"")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, of "abc"
    assert of_files(tmp_path) == {"format": 1, "files": {"model.onnx": {"sha256": digest, "bytes": 3}}}
