from pathlib import Path

import pytest
import torch
from torch import Tensor

from segprune.deploy.form import Form
from segprune.deploy.parity import parity
from segprune.deploy.pt2_file import open_pt2, write_pt2
from segprune.errors import ConfigError
from tests.toys import CLASSES, Concat, Residual, toy


class Branching(Residual):
    """Decides by its values, which no exporter follows."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) if image.sum() > 0 else super().forward(-image)


FREE = ("batch", "height", "width")


@pytest.mark.slow
@pytest.mark.parametrize("form", [Form(dynamic=FREE), Form(dynamic=FREE, output="argmax")])
def test_the_file_predicts_as_the_network_does_at_any_size(tmp_path: Path, form: Form) -> None:
    net, path = toy(Concat), tmp_path / "net.pt2"
    write_pt2(net, path, (16, 24), form=form, time_limit_s=300)
    images = [torch.rand(2, 3, 16, 24), torch.rand(1, 3, 21, 17)]
    found = parity(net, open_pt2(path, form, CLASSES), images)
    assert found.argmax_agreement == 1
    assert form.output == "argmax" or found.relative_error < 1e-6
    assert b"toys.py" not in path.read_bytes()


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the network cannot be written by torch\.export: "):
        write_pt2(toy(Branching), tmp_path / "net.pt2", (16, 24), time_limit_s=300)
    assert list(tmp_path.iterdir()) == []
