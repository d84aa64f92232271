from pathlib import Path

import pytest
import torch
from torch import Tensor

from segprune.deploy import runtime
from segprune.deploy.onnx_file import write_onnx
from segprune.deploy.parity import Parity, parity
from segprune.deploy.quantised import Target, quantise
from segprune.deploy.runtime import open_runner
from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet
from tests.toys import Residual, toy


def images(count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(2, 3, 24, 32, generator=generator) for _ in range(count)]


@pytest.fixture(scope="module")
def net() -> SegmentationNet:
    return toy(Residual).eval()


@pytest.fixture(scope="module")
def source(net: SegmentationNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "model.onnx"
    write_onnx(net, path, size_hw=(24, 32), metadata={"classes": "[]"}, fast=True)
    return path


def levels(path: Path) -> int:
    """How many values the weights of a file take at most, in one channel."""
    import onnx
    from onnx.numpy_helper import to_array

    weights = [
        to_array(one) for one in onnx.load(path).graph.initializer if one.data_type == onnx.TensorProto.INT8
    ]
    return max(int(abs(weight.astype(int)).max()) for weight in weights if weight.ndim == 4)


def by_kernels_and_simulated(path: Path) -> Parity:
    return parity(open_runner(path, simulated=True), open_runner(path), images())


def test_seven_bits_are_exact_on_any_cpu(source: Path, net: SegmentationNet, tmp_path: Path) -> None:
    size = quantise(source, tmp_path / "int8.onnx", images(), target="avx2")
    assert size == (tmp_path / "int8.onnx").stat().st_size
    assert levels(tmp_path / "int8.onnx") <= 64
    # kernels round differently, by less than one step of the logits; where sums overflow it is far more
    found = by_kernels_and_simulated(tmp_path / "int8.onnx")
    assert found.max_abs_error < found.max_abs_logit / 50
    assert found.argmax_agreement > 0.995
    assert parity(net, open_runner(tmp_path / "int8.onnx"), images()).argmax_agreement > 0.9


@pytest.mark.parametrize("target", ["vnni", "tensorrt"])
def test_eight_bits_are_right_where_they_are_computed_exactly(
    source: Path, net: SegmentationNet, tmp_path: Path, target: Target
) -> None:
    quantise(source, tmp_path / "int8.onnx", images(), target=target)
    assert levels(tmp_path / "int8.onnx") > 64
    simulated = open_runner(tmp_path / "int8.onnx", simulated=True)
    assert parity(net, simulated, images()).argmax_agreement > 0.9
    assert dict(simulated.metadata)["classes"] == "[]"


def test_for_tensorrt_zero_is_zero(source: Path, tmp_path: Path) -> None:
    import onnx
    from onnx.numpy_helper import to_array

    quantise(source, tmp_path / "int8.onnx", images(), target="tensorrt")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    points = [to_array(one) for one in graph.initializer if one.name.endswith("zero_point")]
    assert points
    assert all(not point.any() for point in points)


def test_the_same_images_make_the_same_file(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        quantise(source, tmp_path / name, images(), target="avx2")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_without_the_library_nothing_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "available", lambda name: name != "onnxruntime")
    with pytest.raises(
        ConfigError, match=r"onnxruntime is not installed; give: pip install 'segprune\[deploy\]'"
    ):
        quantise(source, tmp_path / "int8.onnx", images(), target="avx2")
    assert list(tmp_path.iterdir()) == []
