"""Networks made ready to be timed in any runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from segprune.deploy.form import Form
from segprune.deploy.onnx_file import write_onnx
from segprune.deploy.runtime import RUNTIMES as FILE_RUNTIMES
from segprune.deploy.runtime import available, open_runner, refuse_missing
from segprune.errors import ConfigError
from segprune.measure.contract import TimedIn
from segprune.measure.runners import eager, graphed, half
from segprune.model.contract import Predicts, SegmentationNet

GPU_ALONE: tuple[TimedIn, ...] = ("eager_half", "cuda_graph", "cuda_graph_half", "tensorrt")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where networks are timed.

    Attributes:
        image: (N, 3, H, W), of the size and on the device of all images to come.
        threads: CPU threads of a pass.
        folder: For files; it must stay until the last pass.
    """

    image: Tensor
    threads: int
    folder: Path


def usual(device: torch.device) -> tuple[TimedIn, ...]:
    """The runtimes that say most about a device, of those that are quick to make ready."""
    if device.type == "cuda":
        return ("eager", "eager_half", "cuda_graph", "cuda_graph_half")
    return ("eager", "onnxruntime")


def device_of(runtime: TimedIn, device: torch.device) -> torch.device:
    """Where a runtime computes in a run on this device."""
    return torch.device("cpu") if runtime in FILE_RUNTIMES else device


def refuse_unusable(runtime: TimedIn, device: torch.device) -> None:
    """Check that a runtime is installed and can run on the device.

    Raises:
        ConfigError: It is not, or cannot.
    """
    if runtime in GPU_ALONE and device.type != "cuda":
        raise ConfigError(f"{runtime} needs a GPU, but the device is {device}.")
    if runtime in FILE_RUNTIMES:
        refuse_missing(["onnx", "onnxscript", runtime])
    if runtime == "tensorrt" and not available("torch_tensorrt"):
        raise ConfigError("torch-tensorrt is not installed; give: pip install torch-tensorrt.")


def version_of(runtime: TimedIn) -> str:
    """Its library and the version, in words."""
    names = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt": "torch-tensorrt"}
    name = names.get(runtime, "torch")
    return f"{name} {torch.__version__ if name == 'torch' else version(name)}"


def ready(nets: Sequence[SegmentationNet], runtime: TimedIn, place: Place) -> list[Predicts]:
    """Runners of networks in one runtime.

    Raises:
        ConfigError: A network cannot be written for the runtime.
        CheckpointError: The runtime cannot read it.
    """
    return [_ready(net, runtime, place) for net in nets]


def _ready(net: SegmentationNet, runtime: TimedIn, place: Place) -> Predicts:
    device = place.image.device
    if runtime in FILE_RUNTIMES:
        path = place.folder / f"{len(list(place.folder.iterdir()))}.onnx"
        size_hw = (place.image.shape[2], place.image.shape[3])
        form = Form(dynamic=("batch",) if len(place.image) > 1 else ())
        write_onnx(net, path, size_hw=size_hw, form=form, fast=True)
        return open_runner(path, runtime, threads=place.threads)
    run = half(net, device) if runtime.endswith("_half") else eager(net, device)
    if runtime.startswith("cuda_graph"):
        return graphed(run, place.image)
    if runtime in ("compile", "tensorrt"):  # for images of one memory format, the one in which they are timed
        return _compiled(run, runtime, place.image.to(memory_format=torch.channels_last))
    return run


def _compiled(run: Predicts, runtime: TimedIn, image: Tensor) -> Predicts:
    """Whole and for images of one size: what cannot be compiled is an error, and no part runs uncompiled."""
    if runtime == "tensorrt":
        import torch_tensorrt

        del torch_tensorrt  # its import registers the backend
    backend = "tensorrt" if runtime == "tensorrt" else "inductor"
    compiled = torch.compile(cast(nn.Module, run), fullgraph=True, dynamic=False, backend=backend)
    with torch.inference_mode():
        compiled(image)  # which compiles it
    return cast(Predicts, compiled)
