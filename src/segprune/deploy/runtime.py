"""Runners: ONNX files that are called like networks, in the runtime where they are deployed."""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segprune.errors import CheckpointError, ConfigError

Runtime = Literal["onnxruntime", "openvino"]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")
EXTRAS = {"onnx": "deploy", "onnxscript": "deploy", "onnxruntime": "deploy", "openvino": "openvino"}
"""Library -> the extra of segprune that installs it."""
Compute = Callable[[NDArray[np.float32]], NDArray[Any]]


def available(name: str) -> bool:
    """Whether an optional library is installed; it is not imported."""
    return find_spec(name) is not None


def refuse_missing(names: Iterable[str]) -> None:
    """Check that optional libraries are installed.

    Raises:
        ConfigError: Some are not; says which, and what installs them.
    """
    missing = [name for name in dict.fromkeys(names) if not available(name)]
    if missing:
        extras = ",".join(dict.fromkeys(EXTRAS[name] for name in missing))
        are = "is" if len(missing) == 1 else "are"
        raise ConfigError(
            f"{' and '.join(missing)} {are} not installed; give: pip install 'segprune[{extras}]' (in a clone of "
            f"the repository: pip install -e '.[{extras}]')."
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Runner:
    """A file that predicts as a network does; see ``Predicts``.

    Attributes:
        path: The file.
        runtime: What computes.
        threads: CPU threads of one forward pass.
        batch: The one number of images that the file takes at a time; None: any.
        metadata: What the file says of itself.
        compute: (N, 3, H, W) float32 -> what the file gives.
        memory_format: Of images that need no copy.
    """

    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    path: Path
    runtime: Runtime
    threads: int
    batch: int | None
    metadata: Mapping[str, str]
    compute: Compute

    def __call__(self, image: Tensor, /) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> logits (N, K, H, W), on the device of the images; it runs on the CPU.

        Of a file that decides by itself: (N, H, W) class ids.
        """
        # Not by torch, whose threads would go on looking for work for a while, on the cores of the runtime's.
        pixels = np.ascontiguousarray(image.detach().float().cpu().numpy())
        size = self.batch or max(len(pixels), 1)
        found = [self.compute(pixels[at : at + size]) for at in range(0, len(pixels), size)]
        whole = found[0] if len(found) == 1 else np.concatenate(found)
        return torch.from_numpy(whole).to(image.device)


def open_runner(
    path: Path, runtime: Runtime = "onnxruntime", *, threads: int = 1, simulated: bool = False
) -> Runner:
    """A runner of an ONNX file; nothing in the file is executed but its arithmetic.

    Args:
        path: The file.
        runtime: What computes.
        threads: CPU threads of one forward pass.
        simulated: Compute quantised layers in float32 on quantised values, as the file says, instead of by this
            CPU's integer kernels; ``onnxruntime`` only.

    Raises:
        ConfigError: The runtime is not installed, or cannot simulate.
        CheckpointError: There is no such file, or the runtime cannot read it.
    """
    refuse_missing([runtime])
    if simulated and runtime != "onnxruntime":
        raise ConfigError(f"{runtime} cannot simulate integer kernels; give onnxruntime.")
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        if runtime == "onnxruntime":
            return _onnxruntime(path, threads, simulated=simulated)
        return _openvino(path, threads)
    except Exception as error:  # each runtime raises classes of its own
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{runtime} cannot run {path}: {reason}") from error


def _onnxruntime(path: Path, threads: int, *, simulated: bool) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    # Threads that wait for the next pass would take a core from what computes meanwhile, such as the other network.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if simulated:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]

    def compute(pixels: NDArray[np.float32]) -> NDArray[Any]:
        found: NDArray[Any] = session.run(None, {given.name: pixels})[0]
        return found

    return Runner(
        path=path,
        runtime="onnxruntime",
        threads=threads,
        batch=given.shape[0] if isinstance(given.shape[0], int) else None,
        metadata=dict(session.get_modelmeta().custom_metadata_map),
        compute=compute,
    )


def _openvino(path: Path, threads: int) -> Runner:
    core = _openvino_core()
    model = core.read_model(path)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # a CPU that knows bfloat16 would compute in it
    }
    compiled = core.compile_model(model, "CPU", settings)
    count = model.input(0).get_partial_shape()[0]
    said = model.get_rt_info()["framework"] if model.has_rt_info("framework") else {}

    def compute(pixels: NDArray[np.float32]) -> NDArray[Any]:
        return np.array(compiled(pixels)[0])  # a copy: the runtime writes over its own next time

    return Runner(
        path=path,
        runtime="openvino",
        threads=threads,
        batch=count.get_length() if count.is_static else None,
        metadata={name: str(value.astype(str)) for name, value in said.items()},
        compute=compute,
    )


@cache
def _openvino_core() -> Any:
    """One for the whole process, without telemetry: that would send statistics at the import, without having asked.

    The CPU plugin of each ``Core`` gives signals a stack and puts back the one before. Of two, where the first is
    freed first, the second puts back what is no longer there: the next signal, such as Ctrl-C, ends the process.
    """
    with _hidden("openvino_telemetry"):
        return importlib.import_module("openvino").Core()


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let a module look as if it were not installed."""
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
