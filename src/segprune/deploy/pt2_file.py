"""A network as a .pt2 file, for what runs PyTorch's exported programs."""

import io
from pathlib import Path

import torch
from torch import Tensor

from segprune import durable
from segprune.deploy.form import AXES, DEFAULT_FORM, Deployed, Form, Planes, quiet
from segprune.deploy.time_limit import time_limit
from segprune.errors import ConfigError
from segprune.model.contract import Predicts, SegmentationNet


def write_pt2(
    net: SegmentationNet,
    path: Path,
    size_hw: tuple[int, int],
    *,
    form: Form = DEFAULT_FORM,
    time_limit_s: float,
) -> None:
    """Write a network as ``torch.export`` does, all or nothing.

    Args:
        net: The network; it stays as it is.
        path: The file.
        size_hw: (H, W) of the images in px.
        form: What the file takes and gives; the opset says nothing here.
        time_limit_s: After how many seconds the export is given up.

    Raises:
        ConfigError: The network cannot be exported.
        OSError: The disk refuses.
    """
    free = {AXES[axis]: torch.export.Dim.DYNAMIC for axis in form.dynamic}
    content = io.BytesIO()
    try:
        with time_limit(time_limit_s), quiet(), torch.no_grad():
            program = torch.export.export(
                Deployed(net, form.output), (form.example(size_hw, net.bands),), dynamic_shapes=(free,)
            )
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths of this machine
            torch.export.save(program, content)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise ConfigError(f"the network cannot be written by torch.export: {reason}") from error
    with durable.replacing(path) as file:
        file.write(content.getvalue())


def open_pt2(path: Path, form: Form, classes: int) -> Predicts:
    """What a .pt2 file predicts; for files of one's own, since PyTorch reads more than numbers from it.

    Args:
        path: The file.
        form: What it gives.
        classes: K.
    """
    module = torch.export.load(path).module()

    def run(image: Tensor) -> Tensor:
        logits: Tensor = module(image)
        return logits

    return run if form.output == "logits" else Planes(run, classes)
