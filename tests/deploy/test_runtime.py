import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segprune.deploy.onnx_file import write_onnx
from segprune.deploy.runtime import RUNTIMES, available, open_runner, refuse_missing
from segprune.errors import CheckpointError, ConfigError
from tests.toys import Residual, toy

FACTS = {"ignore_index": "255", "word": "Straße"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runtime") / "net.onnx"
    write_onnx(toy(Residual), path, size_hw=(16, 16), metadata=FACTS, fast=True)
    return path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_predicts_as_the_network(file: Path, runtime: str) -> None:
    image = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    run = open_runner(file, runtime, threads=2)
    expected = toy(Residual)(image).detach()
    first = run(image)
    torch.testing.assert_close(first, expected, rtol=0, atol=float(1e-5 * expected.abs().max()))
    kept = first.clone()
    run(1 - image)
    assert torch.equal(first, kept)  # a later call writes into no earlier answer
    assert run(image.to(memory_format=torch.channels_last)).equal(first)
    assert run.metadata == FACTS
    assert (run.runtime, run.threads, run.batch) == (runtime, 2, None)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_between_two_passes_no_thread_of_a_runner_computes(file: Path, runtime: str) -> None:
    run, image = open_runner(file, runtime, threads=2), torch.rand(8, 3, 16, 16)

    def idle_share() -> float:
        run(image)
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(0.02)
        return (time.process_time() - cpu) / (time.perf_counter() - wall)

    assert min(idle_share() for _ in range(10)) < 0.2  # a thread that waits for the next pass: 1.0


class Operations(TorchDispatchMode):
    """What torch computes within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_in_a_pass_torch_computes_nothing(file: Path, memory_format: torch.memory_format) -> None:
    run, image = open_runner(file, threads=2), torch.rand(2, 3, 16, 16).to(memory_format=memory_format)
    with Operations() as found:
        run(image)
    assert set(found.names) <= {"aten.detach.default", "aten.lift_fresh.default"}  # neither computes


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_files_that_no_runtime_can_read_are_refused(tmp_path: Path, runtime: str) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*none\.onnx"):
        open_runner(tmp_path / "none.onnx", runtime)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no network")
    with pytest.raises(CheckpointError, match=rf"^{runtime} cannot run .*damaged\.onnx: "):
        open_runner(damaged, runtime)


def test_only_one_runtime_can_simulate(file: Path) -> None:
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(open_runner(file, simulated=True)(image), open_runner(file)(image))
    with pytest.raises(ConfigError, match="openvino cannot simulate integer kernels"):
        open_runner(file, "openvino", simulated=True)


def test_missing_libraries_are_named_once_with_their_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_missing(["onnx", "onnxruntime"])
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    assert [available(name) for name in ("onnx", "onnxruntime", "openvino")] == [True, False, False]
    with pytest.raises(ConfigError, match=r"^onnxruntime is not installed; .*'segprune\[deploy\]'"):
        refuse_missing(["onnx", "onnxruntime", "onnxruntime"])
    with pytest.raises(
        ConfigError,
        match=r"^onnxruntime and openvino are .*'segprune\[deploy,openvino\]' .*-e '\.\[deploy,open",
    ):
        refuse_missing(["onnxruntime", "openvino"])


@pytest.mark.slow
def test_openvino_is_opened_without_its_telemetry(file: Path, tmp_path: Path) -> None:
    """Its import sends statistics and puts an identity into the home folder, unless ``CI`` is set."""
    code = (
        "import sys; from pathlib import Path; from segprune.deploy.runtime import open_runner;"
        f"open_runner(Path({str(file)!r}), 'openvino');"
        "assert 'openvino' in sys.modules; print([name for name in sys.modules if 'openvino_telemetry' in name])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "intel").exists()


@pytest.mark.slow
def test_signals_are_handled_after_two_files_were_run_beside_each_other(file: Path) -> None:
    code = f"""
import gc, signal
from pathlib import Path
from segprune.deploy.runtime import open_runner

signal.signal(signal.SIGINT, lambda *_: print("heard"))
runners = [open_runner(Path({str(file)!r}), "openvino") for _ in range(2)]
while runners:
    del runners[0]
    gc.collect()
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
