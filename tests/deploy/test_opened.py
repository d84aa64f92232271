from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.deploy.about import About
from segprune.deploy.form import Form
from segprune.deploy.onnx_file import write_onnx
from segprune.deploy.opened import open_file
from segprune.deploy.runtime import RUNTIMES
from segprune.errors import CheckpointError
from tests.toys import Residual, toy

OURS = About(
    classes=("none", "red", "green", "blue"),
    palette=((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)),
    ignore_index=255,
    size_hw=(16, 16),
    dynamic=("batch",),
    output="logits",
)


@pytest.mark.parametrize("output", ["logits", "argmax"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_file_predicts_logits_and_says_what_they_mean(
    tmp_path: Path, runtime: str, output: str
) -> None:
    net, path, said = toy(Residual), tmp_path / "net.onnx", replace(OURS, output=output)
    write_onnx(net, path, size_hw=(16, 16), form=Form(output=output), metadata=said.metadata(), fast=True)
    run, found = open_file(path, runtime)
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert found == said
    assert run(image).shape == (2, 4, 16, 16)
    assert torch.equal(run(image).argmax(1), net(image).argmax(1))


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    write_onnx(toy(Residual), tmp_path / "net.onnx", size_hw=(16, 16), fast=True)
    with pytest.raises(CheckpointError, match="does not say which classes it knows"):
        open_file(tmp_path / "net.onnx")
