import logging
import re
import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from segprune.deploy.form import Form
from segprune.deploy.onnx_file import write_onnx
from segprune.deploy.parity import parity
from segprune.deploy.runtime import open_runner
from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, Concat, Residual, toy

SIZE = (16, 24)
SLOW = pytest.mark.slow
EITHER = pytest.mark.parametrize("fast", [True, pytest.param(False, marks=SLOW)])


class Endless(Residual):
    """Never answers once it is on its way into a file."""

    def forward(self, image: Tensor) -> Tensor:
        while torch.onnx.is_in_onnx_export():
            pass
        return super().forward(image)


class Branching(Residual):
    """Decides by its values, which only the older exporter overlooks."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) if image.sum() > 0 else super().forward(-image)


class Spectral(Residual):
    """Has an operation that ONNX does not know."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + torch.linalg.eigvals(image[:, :1, :16, :16]).real.mean()


def image(count: int = 2, size_hw: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(count, 3, *size_hw, generator=torch.Generator().manual_seed(0))


def written(net: SegmentationNet, folder: Path, **options: object) -> Path:
    path = folder / "net.onnx"
    write_onnx(net, path, **{"size_hw": SIZE, "fast": True, **options})
    return path


@pytest.mark.parametrize(
    ("kind", "fast"), [(Residual, True), (Concat, True), pytest.param(Concat, False, marks=SLOW)]
)
def test_the_file_predicts_as_the_network_does_for_any_number_of_images(
    tmp_path: Path, kind: type[SegmentationNet], fast: bool
) -> None:
    net = toy(kind)
    run = open_runner(written(net, tmp_path, fast=fast))
    assert parity(net, run, [image(2), image(1), image(3)]).relative_error < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_all_axes_can_be_free(tmp_path: Path) -> None:
    net = toy(Residual)
    run = open_runner(written(net, tmp_path, form=Form(dynamic=("batch", "height", "width"))))
    assert parity(net, run, [image(1, (16, 24)), image(3, (21, 17))]).relative_error < 1e-5


def test_a_file_of_fixed_axes_takes_one_image_and_its_runner_any_number(tmp_path: Path) -> None:
    net = toy(Residual)
    path = written(net, tmp_path, form=Form(dynamic=()))
    given = onnx.load(path).graph.input[0].type.tensor_type.shape
    assert [axis.dim_value for axis in given.dim] == [1, 3, *SIZE]
    assert parity(net, open_runner(path), [image(3)]).relative_error < 1e-5


@EITHER
def test_a_file_can_decide_by_itself(tmp_path: Path, fast: bool) -> None:
    net, form = toy(Residual), Form(dynamic=("batch", "height", "width"), output="argmax")
    run = open_runner(written(net, tmp_path, form=form, fast=fast))
    for given in (image(2), image(1), image(3, (21, 17))):
        assert run(given).dtype == torch.uint8
        assert torch.equal(run(given).long(), net(given).argmax(1))


def test_what_only_training_uses_is_not_in_it(tmp_path: Path) -> None:
    model = onnx.load(written(toy(Concat), tmp_path))
    assert [one for one in model.graph.initializer if "aux" in one.name] == []
    assert [one.name for one in model.graph.output] == ["logits"]
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == CLASSES


def test_a_network_in_training_is_written_as_it_evaluates_and_stays_as_it_was(tmp_path: Path) -> None:
    net = toy(Residual).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run = open_runner(written(net, tmp_path))
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert parity(net, run, [image()]).relative_error < 1e-5


def test_it_says_what_it_is(tmp_path: Path) -> None:
    facts = {"classes": '["road", "Gehweg, geräumt"]', "ignore_index": "255"}
    path = tmp_path / "net.onnx"
    made = write_onnx(toy(Residual), path, size_hw=SIZE, form=Form(opset=17), metadata=facts, fast=True)
    assert open_runner(path).metadata == facts
    assert (made.exporter, made.opset, made.size_bytes) == ("torchscript", 17, path.stat().st_size)
    assert made.nodes == len(onnx.load(path).graph.node)


@SLOW
def test_the_same_network_is_the_same_file_which_tells_nothing_of_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = toy(Residual)
    made = write_onnx(net, tmp_path / "one.onnx", size_hw=SIZE)
    write_onnx(net, tmp_path / "two.onnx", size_hw=SIZE)
    content = (tmp_path / "one.onnx").read_bytes()
    assert (made.exporter, capsys.readouterr().out) == ("dynamo", "")
    assert content == (tmp_path / "two.onnx").read_bytes()
    assert b".py" not in content
    assert b"tests.toys" not in content


@SLOW
def test_where_the_exporter_fails_the_older_one_writes_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = toy(Branching)
    made = write_onnx(net, tmp_path / "net.onnx", size_hw=SIZE)
    assert made.exporter == "torchscript"
    assert "by the older exporter, torchscript, since dynamo: " in caplog.text
    assert parity(net, open_runner(tmp_path / "net.onnx"), [image()]).relative_error < 1e-5


@SLOW
def test_what_no_exporter_can_write_is_refused_and_the_file_of_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("of before")
    with pytest.raises(ConfigError, match=r"cannot be written as ONNX \(dynamo: .*; torchscript: .*eigvals"):
        write_onnx(toy(Spectral), path, size_hw=SIZE)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("net.onnx", "of before")]


def test_an_exporter_that_never_ends_is_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    message = r"torchscript: it took longer than 0\.2 s\); fixed height may work: dynamic=\[batch\]\."
    with pytest.raises(ConfigError, match=message):
        written(toy(Endless), tmp_path, form=Form(dynamic=("batch", "height")), time_limit_s=0.2)
    assert list(tmp_path.iterdir()) == []
    assert open_runner(written(toy(Residual), tmp_path)).batch is None  # the exporter works as before


def test_missing_libraries_are_named_with_what_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    remedy = re.escape("onnx and onnxscript are not installed; give: pip install 'segprune[deploy]'")
    with pytest.raises(ConfigError, match=remedy):
        written(toy(Residual), tmp_path)


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        written(toy(Residual), tmp_path / "nowhere")


def test_the_console_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        written(toy(Residual), tmp_path)
    assert (capsys.readouterr().out, caplog.text) == ("", "")
