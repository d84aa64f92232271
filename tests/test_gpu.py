from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segprune import gpu
from segprune.stage.identity import fingerprint_of
from tests.gpus import with_gpus
from tests.tiny import CPU, tiny_context

HERE, THERE = torch.device("cpu"), torch.device("cuda", 0)


def test_nothing_is_said_of_a_cpu() -> None:
    assert gpu.inputs_of(HERE) == {}
    assert gpu.name_of(HERE) is None
    assert gpu.precision_of(HERE) == "float32"
    assert gpu.lacks_code(HERE) == ""


def test_a_run_says_which_device_it_takes_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.about(HERE, "cpu") == "device cpu"
    with monkeypatch.context() as patch:
        with_gpus(patch, 1)
        assert gpu.about(THERE, "auto") == "device cuda:0: Stub A100 (tf32)"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with monkeypatch.context() as patch:
        with_gpus(patch, 0)
        assert gpu.about(HERE, "auto") == "device cpu: there is no NVIDIA GPU that torch can see"
        with_gpus(patch, 1, is_too_old=True)
        said = gpu.about(HERE, "auto")
    assert said.startswith("device cpu: there is a GPU, but its driver is too old for CUDA 13.0")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert gpu.about(HERE, "auto") == "device cpu: this torch is a build for CPUs"


def test_a_gpu_is_its_name_its_arithmetic_and_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = with_gpus(monkeypatch, 1)
    found = {"name": "Stub A100", "convolutions": "tf32", "products": "float32"}
    found |= {"cudnn": str(torch.backends.cudnn.version()), "algorithms": "guessed"}
    assert gpu.inputs_of(THERE) == {"gpu": found}
    with multiplying(torch.backends.cuda.matmul, "tf32"):
        assert gpu.inputs_of(THERE)["gpu"]["products"] == "tf32"
        driver.capability = (7, 5)  # has no units for it, whatever is allowed
        assert gpu.inputs_of(THERE)["gpu"]["products"] == gpu.precision_of(THERE) == "float32"


def test_how_cudnn_chooses_its_algorithms_is_a_fact_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1)
    with torch.backends.cudnn.flags(benchmark=True):
        assert gpu.inputs_of(THERE)["gpu"]["algorithms"] == "timed"
    with torch.backends.cudnn.flags(benchmark=True, deterministic=True):
        assert gpu.inputs_of(THERE)["gpu"]["algorithms"] == "deterministic"


def test_convolutions_without_tf32_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1)
    with multiplying(torch.backends.cudnn.conv, "ieee"):
        assert gpu.precision_of(THERE) == "float32"


def test_a_result_is_known_by_the_gpu_that_made_it_and_a_cpu_by_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = with_gpus(monkeypatch, 1)
    here = tiny_context(tmp_path)
    there = replace(here, hardware=replace(CPU, device=THERE))
    assert "gpu" not in (fingerprint_of(here, "train", {}).inputs or {})
    keys = [fingerprint_of(there, "train", {})]
    driver.name = "Stub H100"
    keys.append(fingerprint_of(there, "train", {}))
    assert keys[0][:16] == keys[1][:16]  # the same work, so that one can be accepted for the other
    assert keys[0] != keys[1]


BUILT = ["sm_75", "sm_80", "sm_86", "sm_90a", "sm_100f", "compute_120"]


@pytest.mark.parametrize(
    "capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)]
)
def test_code_for_an_earlier_gpu_of_the_same_line_runs(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said_of(capability, BUILT, monkeypatch) == ""


@pytest.mark.parametrize(
    ("capability", "built", "remedy"),
    [
        ((7, 0), BUILT, "the one for CUDA 12.6"),
        ((6, 1), BUILT, "the one for CUDA 12.6"),
        ((9, 1), BUILT, "a newer one"),  # ``a`` is for one alone
        ((12, 0), BUILT[:-1], "a newer one"),
    ],
)
def test_a_gpu_that_the_build_has_no_code_for_is_told_what_to_install(
    capability: tuple[int, int], built: Sequence[str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = said_of(capability, built, monkeypatch)
    assert said.startswith(f"Stub A100 has the compute capability {capability[0]}.{capability[1]}, and torch")
    assert f"Install another build of torch ({remedy}" in said


def test_a_build_without_such_names_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said_of((9, 4), ["gfx942"], monkeypatch) == ""
    assert said_of((9, 4), [], monkeypatch) == ""


def test_errors_of_the_gpu_are_told_from_those_of_the_network() -> None:
    own = ["CUDA error: no kernel image is available", "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"]
    own += ["CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasCreate(handle)`"]
    assert all(gpu.is_of_gpu(RuntimeError(text)) for text in own)
    assert gpu.is_of_gpu(torch.AcceleratorError("device-side assert triggered"))
    assert not gpu.is_of_gpu(RuntimeError("Kernel size can't be greater than actual input size"))


@contextmanager
def multiplying(part: Any, how: str) -> Iterator[None]:
    """Products of float32 in this part of torch; monkeypatch would delete the setting afterwards."""
    before = part.fp32_precision
    part.fp32_precision = how
    try:
        yield
    finally:
        part.fp32_precision = before


def said_of(capability: tuple[int, int], built: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    with_gpus(monkeypatch, 1).capability = capability
    monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: " ".join(built), raising=False)
    return gpu.lacks_code(THERE)
