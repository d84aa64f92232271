import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segprune.deploy import ready as here
from segprune.deploy.ready import Place, device_of, ready, refuse_unusable, usual, version_of
from segprune.errors import ConfigError
from segprune.measure.contract import OTHER_RUNTIMES, TimedIn
from tests.toys import Residual

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
ROOT = Path(__file__).parents[2]


def place(folder: Path, batch_size: int = 1) -> Place:
    return Place(image=torch.rand(batch_size, 3, 8, 12), threads=1, folder=folder)


@pytest.mark.parametrize("runtime", ["eager", "onnxruntime", "openvino"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_every_runtime_gives_the_logits_of_the_network(
    tmp_path: Path, runtime: TimedIn, batch_size: int
) -> None:
    pytest.importorskip("torch" if runtime == "eager" else runtime)
    nets = [Residual().eval(), Residual().eval()]
    where = place(tmp_path, batch_size)
    with torch.inference_mode():
        for net, run in zip(nets, ready(nets, runtime, where), strict=True):
            assert run is not net
            assert torch.allclose(run(where.image), net(where.image), atol=1e-5)


COMPILED = """
import faulthandler, sys, torch
faulthandler.dump_traceback_later(240, exit=True)
from pathlib import Path
from segprune.deploy.ready import ready
from tests.deploy.test_ready import place
from tests.toys import Residual

net, where = Residual().eval(), place(Path(sys.argv[1]))
(run,) = ready([net], "compile", where)
torch._dynamo.config.error_on_recompile = True  # when it is timed, all is there
image = where.image.to(memory_format=torch.channels_last)
with torch.inference_mode():
    assert torch.allclose(run(image), net(image), atol=1e-5)
"""


@pytest.mark.slow
def test_a_network_is_compiled_as_a_whole(tmp_path: Path) -> None:
    # in a process of its own, which says where it stands when it does not end
    with (tmp_path / "said").open("w+") as said:
        done = subprocess.run(
            [sys.executable, "-c", COMPILED, str(tmp_path)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=ROOT,
            check=False,
        )
        said.seek(0)
        assert done.returncode == 0, said.read()


@pytest.mark.parametrize("runtime", here.GPU_ALONE)
def test_what_needs_a_gpu_is_refused_without_one(runtime: TimedIn) -> None:
    with pytest.raises(ConfigError, match=f"{runtime} needs a GPU, but the device is cpu"):
        refuse_unusable(runtime, CPU)


def test_what_is_not_installed_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segprune.deploy.runtime.find_spec", lambda _: None)
    for runtime, remedy in (
        ("onnxruntime", r"segprune\[deploy\]"),
        ("openvino", r"segprune\[deploy,openvino\]"),
    ):
        with pytest.raises(ConfigError, match=rf"{runtime} are not installed; give: pip install '{remedy}'"):
            refuse_unusable(runtime, CPU)
    with pytest.raises(ConfigError, match="give: pip install torch-tensorrt"):
        refuse_unusable("tensorrt", GPU)
    refuse_unusable("eager", CPU)


def test_files_run_on_the_cpu_and_all_else_on_the_device() -> None:
    assert {runtime for runtime in OTHER_RUNTIMES if device_of(runtime, GPU) == CPU} == {
        "onnxruntime",
        "openvino",
    }
    assert usual(CPU) == ("eager", "onnxruntime")
    for runtime in usual(GPU):
        refuse_unusable(runtime, GPU)


def test_the_version_is_that_of_the_library() -> None:
    assert version_of("eager") == version_of("compile") == f"torch {torch.__version__}"
    onnxruntime = pytest.importorskip("onnxruntime")
    assert version_of("onnxruntime") == f"onnxruntime {onnxruntime.__version__}"
