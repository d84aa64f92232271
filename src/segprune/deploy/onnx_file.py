"""A network as an ONNX file, with its normalisation inside."""

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segprune import durable
from segprune.deploy.form import AXES, DEFAULT_FORM, Deployed, Form, Output, quiet
from segprune.deploy.runtime import refuse_missing
from segprune.deploy.time_limit import time_limit
from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet

TIME_LIMIT_S = 300.0
MAX_BYTES = 2**31 - 1
"""What fits into one file, by the format's own limit."""
IMAGE = "image"
RESULTS: Mapping[Output, str] = {"logits": "logits", "argmax": "class_ids"}
"""What the inputs and outputs of a file are called."""
Export = Callable[[nn.Module, Form, Tensor], Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a file was made by and holds.

    Attributes:
        exporter: ``dynamo`` or ``torchscript``.
        opset: Version of the operators.
        nodes: How many operators.
        size_bytes: Of the file.
    """

    exporter: str
    opset: int
    nodes: int
    size_bytes: int


def write_onnx(
    net: SegmentationNet,
    path: Path,
    *,
    size_hw: tuple[int, int],
    form: Form = DEFAULT_FORM,
    metadata: Mapping[str, str] | None = None,
    fast: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
) -> Written:
    """Write a network as one ONNX file, all or nothing: images ``image`` in, ``logits`` or ``class_ids`` out.

    PyTorch's exporter (dynamo) writes it; where that fails or takes too long, the older one by TorchScript does,
    and a warning says so.

    Args:
        net: The network; it stays as it is.
        path: The file.
        size_hw: (H, W) of the images in px.
        form: What the file takes and gives.
        metadata: What the file says of itself, read by runtimes.
        fast: Use the older exporter at once: 10 to 30 times as fast, for files that are only timed.
        time_limit_s: After how many seconds an export is given up.

    Raises:
        ConfigError: A library is missing, or no exporter can write the network.
        OSError: The disk refuses.
    """
    refuse_missing(["onnx", "onnxscript"])
    exporter, model = _exported(
        Deployed(net, form.output), form, form.example(size_hw, net.bands), time_limit_s, fast=fast
    )
    return _written(path, model, exporter, metadata or {})


def _exported(
    net: nn.Module, form: Form, image: Tensor, time_limit_s: float, *, fast: bool
) -> tuple[str, Any]:
    """Name of the exporter that could do it, and the model."""
    ways: Mapping[str, Export] = {"torchscript": _torchscript} if fast else EXPORTERS
    reasons = []
    for name, export in ways.items():
        try:
            with time_limit(time_limit_s), quiet(), torch.no_grad():
                model = _checked(export(net, form, image))
        except Exception as error:  # noqa: BLE001 - exporters raise whatever they meet
            reasons.append(f"{name}: {_reason(error)}")
            continue
        if reasons:
            log.warning("export: written by the older exporter, %s, since %s", name, reasons[0])
        return name, model
    fixed = [axis for axis in form.dynamic if axis != "batch"]
    remedy = f"; fixed {' and '.join(fixed)} may work: dynamic=[batch]" if fixed else ""
    raise ConfigError(f"the network cannot be written as ONNX ({'; '.join(reasons)}){remedy}.")


def _dynamo(net: nn.Module, form: Form, image: Tensor) -> Any:
    free = {AXES[axis]: axis for axis in form.dynamic}
    program = torch.onnx.export(
        net,
        (image,),
        dynamo=True,
        dynamic_shapes=(free,),
        input_names=[IMAGE],
        output_names=[RESULTS[form.output]],
        opset_version=form.opset,
        verbose=False,
    )
    assert program is not None  # noqa: S101 - it is None for the other exporter only
    return program.model_proto


def _torchscript(net: nn.Module, form: Form, image: Tensor) -> Any:
    import onnx

    axes = {AXES[axis]: axis for axis in form.dynamic}
    of_ids = {max(axis - 1, 0): name for axis, name in axes.items()}
    file: Any = io.BytesIO()  # which works, though the types say that it does not
    torch.onnx.export(
        net,
        (image,),
        file,
        dynamo=False,
        dynamic_axes={IMAGE: axes, RESULTS[form.output]: axes if form.output == "logits" else of_ids},
        input_names=[IMAGE],
        output_names=[RESULTS[form.output]],
        opset_version=form.opset,
    )
    return onnx.load_model_from_string(file.getvalue())


EXPORTERS: Mapping[str, Export] = {"dynamo": _dynamo, "torchscript": _torchscript}


def _written(path: Path, model: Any, exporter: str, metadata: Mapping[str, str]) -> Written:
    import onnx

    onnx.helper.set_model_props(model, dict(metadata))
    if model.ByteSize() > MAX_BYTES:
        raise ConfigError(
            f"the network has {model.ByteSize()} bytes; one ONNX file holds at most {MAX_BYTES}."
        )
    content = model.SerializeToString(deterministic=True)
    with durable.replacing(path) as file:
        file.write(content)
    return Written(
        exporter=exporter,
        opset=next(one.version for one in model.opset_import if one.domain == ""),
        nodes=len(model.graph.node),
        size_bytes=len(content),
    )


def _checked(model: Any) -> Any:
    """The model if it is valid, without what the exporter notes of the source code: paths of this machine."""
    import onnx

    graph = model.graph
    for part in (
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
        graph,
        model,
    ):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    return model


def _reason(error: Exception) -> str:
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first.strip()[:300]
