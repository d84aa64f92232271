from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segprune.deploy.form import Planes
from segprune.errors import ConfigError
from segprune.measure.latency import Timing
from segprune.model.contract import SegmentationNet
from segprune.stage.times import refuse_runtimes, times_of, versions
from tests.tiny import tiny_context
from tests.toys import Plain, Residual

TIMING = Timing(batch_size=1, rounds=3, warmup=1)
CPU = torch.device("cpu")


class Unwritable(Residual):
    """Does what no file can hold."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.hypot(image))


@dataclass(frozen=True)
class File:
    """Stands for a runner of a file."""

    runtime: str

    def __call__(self, image: Tensor, /) -> Tensor:
        return image


@pytest.fixture
def nets() -> dict[Any, SegmentationNet]:
    pytest.importorskip("onnxruntime")
    return {"dense": Residual().eval(), "cut": Plain().eval()}


def test_networks_are_timed_in_every_runtime(tmp_path: Path, nets: dict[Any, SegmentationNet]) -> None:
    found = times_of(tiny_context(tmp_path), nets, TIMING, ("onnxruntime", "eager"))
    assert list(found.latencies) == ["onnxruntime", "eager"]
    for name in nets:
        assert {runtime: one.rounds for runtime, one in found.of(name).items()} == {
            "onnxruntime": 3,
            "eager": 3,
        }
    assert found.describe().startswith("onnxruntime (onnxruntime 1.")
    assert found.describe().endswith(f", eager (torch {torch.__version__})")


def test_a_file_is_timed_in_its_own_runtime_beside_the_networks(
    tmp_path: Path, nets: dict[Any, SegmentationNet]
) -> None:
    ids = Planes(File("onnxruntime"), 4)  # a file of class ids, of which eval makes logits
    both = {**nets, "file": File("onnxruntime"), "ids": ids, "own": lambda image: image}
    found = times_of(tiny_context(tmp_path), both, TIMING, ("eager",))
    assert {runtime: list(times) for runtime, times in found.latencies.items()} == {
        "eager": ["dense", "cut", "own"],
        "onnxruntime": ["dense", "cut", "file", "ids"],
    }


def test_what_is_not_there_is_left_out_and_said_or_refused(
    tmp_path: Path, nets: dict[Any, SegmentationNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = versions("auto", CPU)
    monkeypatch.setattr("segprune.deploy.runtime.find_spec", lambda _: None)
    ctx = tiny_context(tmp_path)
    found = times_of(ctx, nets, TIMING, "auto")
    assert list(found.latencies) == ["eager"]
    assert (
        "; onnxruntime not timed: onnx and onnxscript and onnxruntime are not installed" in found.describe()
    )
    assert "pip install 'segprune[deploy]'" in found.describe()
    with pytest.raises(ConfigError, match=r"eval\.runtimes has onnxruntime: .*give: pip install"):
        refuse_runtimes(ctx, nets["dense"], ("eager", "onnxruntime"), "eval.runtimes")
    assert versions("auto", CPU) == {**before, "onnxruntime": None} != before


def test_a_network_that_a_runtime_cannot_run_is_left_out_and_said_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    ctx, net = tiny_context(tmp_path), Unwritable().eval()
    found = times_of(ctx, {"dense": net}, TIMING, "auto")
    assert list(found.latencies) == ["eager"]
    assert "onnxruntime not timed: the network cannot be written as ONNX" in found.describe()
    with pytest.raises(ConfigError, match=r"eval\.runtimes has onnxruntime: the network cannot be written"):
        refuse_runtimes(ctx, net, ("onnxruntime",), "eval.runtimes")
    with pytest.raises(ConfigError, match="the network cannot be written"):
        times_of(ctx, {"dense": net}, TIMING, ("onnxruntime",))


def test_a_runtime_for_gpus_is_refused_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"eval\.runtimes has cuda_graph: cuda_graph needs a GPU"):
        refuse_runtimes(tiny_context(tmp_path), Residual(), ("cuda_graph",), "eval.runtimes")
